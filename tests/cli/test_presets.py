"""`ftbridge presets`: the list, one preset in full, and both for programs."""

import json

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core.errors import UsageError
from ftbridge.dataset_info.presets import load_preset, presets


def run(*arguments):
    return CliRunner().invoke(cli, ["presets", *arguments])


def test_presets_list_has_a_line_for_each_preset():
    done = run()
    assert done.exit_code == 0, done.output
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["name", "title", "model", "licence"]
    for known, line in zip(presets().values(), lines, strict=True):
        assert line.startswith(known.name)
        assert line.index(known.model) == head.index("model")
        assert line.endswith(known.licence.partition(";")[0])


def test_preset_given_by_name_is_shown_in_full():
    assert run("chnsenticorp").stdout == (
        "chnsenticorp: ChnSentiCorp hotel reviews\n"
        "source       https://github.com/SophonPlus/ChineseNlpCorpus/tree/master/datasets/ChnSentiCorp_htl_all\n"
        "licence      none stated in the source repository; ask its authors before you share what you make of it\n"
        "model        Qwen/Qwen2.5-1.5B-Instruct\n"
        "instruction  请判断下面这条酒店评论的情感倾向，只回答“正面”或“负面”。\n"
        "input        column review\n"
        "output       column label\n"
        "labels       1 = 正面\n"
        "             0 = 负面\n"
        "sample       {\n"
        '               "label": 1,\n'
        '               "review": "房间干净，前台热情，离地铁站走路五分钟，下次还会再来。"\n'
        "             }\n"
        "use          ftbridge convert FILE --preset chnsenticorp\n"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("medqa", "detected by  the sheet DrugQA"),
        ("msra-ner", "detected by  the columns instruct, query, answer"),
        ("patents", "use          ftbridge convert preset:patents"),
        ("self-cognition", "use          ftbridge convert preset:self-cognition --set name=NAME --set author=AUTHOR"),
        ("self-cognition", "             author: who made it"),
    ],
)
def test_preset_shows_how_it_is_recognised_and_used(name, line):
    assert line in run(name).stdout.splitlines()


def test_presets_with_json_are_printed_as_values():
    assert [each["name"] for each in json.loads(run("--json").stdout)] == list(presets())
    shown = json.loads(run("patents", "--json").stdout)
    assert shown["labels"]["7"] == "Electricity"
    assert shown["sample"] == load_preset("patents").sample


def test_unknown_preset_gets_the_closest_name():
    assert isinstance(run("patnets").exception, UsageError)
    assert "did you mean `patents`" in str(run("patnets").exception)
