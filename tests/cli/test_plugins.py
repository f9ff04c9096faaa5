"""What is there, and which package each comes from; what a package of a third party brings is used like ours."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import ftbridge
from ftbridge.cli import cli
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.plugins import _entry_points
from ftbridge.dataset_info import presets
from ftbridge.templates.detect import detect_family
from ftbridge.templates.families import get_family, load_families

from ..builders.models import write_model  # noqa: TID252
from ..builders.plugin_packages import PLAIN, SMALL, install  # noqa: TID252

CACHES = (_entry_points, presets.presets, load_families)


def run(*arguments):
    return CliRunner().invoke(cli, ["plugins", *arguments], catch_exceptions=False)


def forget():
    """Forget what was looked up, and which modules were imported."""
    for each in CACHES:
        each.cache_clear()
    for name in [name for name in sys.modules if name.startswith("ftbridge_")]:
        del sys.modules[name]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder of packages that is looked into."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "site")
    forget()
    yield tmp_path / "site"
    forget()


@pytest.fixture
def small(site):
    return install(SMALL, site)


def test_plugins_are_listed_with_their_packages(small):
    install(PLAIN, small)
    found = {(each["kind"], each["name"]): each["package"] for each in json.loads(run("--json").stdout)}
    ours, theirs = f"ftbridge {ftbridge.__version__}", "ftbridge-small 0.1.0"
    assert found["backends", "plain"] == "ftbridge-plain 0.1.0"
    assert found["backends", "xtuner"] == found["sources", "csv"] == found["presets", "medqa"] == ours
    assert found["families", "qwen3"] == ours
    news = {("sources", "blocks"), ("targets", "pairs"), ("presets", "clinic"), ("families", "parrot")}
    assert {which for which, package in found.items() if package == theirs} == news


def test_plugins_list_has_a_line_for_each_plugin(small):
    head, *lines = run().stdout.splitlines()
    assert head.split() == ["kind", "name", "package"]
    assert len(lines) == len(json.loads(run("--json").stdout))
    assert next(line for line in lines if "clinic" in line).split() == ["presets", "clinic", "ftbridge-small", "0.1.0"]


def test_source_and_target_of_a_package_convert(small, tmp_path):
    (tmp_path / "faq.blocks").write_text("question: why\nanswer: so\n\nwhat\n\nquestion: how\nanswer: thus\n")
    found = ftbridge.convert("faq.blocks", to="pairs", on_error="skip")
    lines = Path("data", "faq-train.pairs.jsonl").read_text().splitlines()
    assert found.parts[0].samples == len(lines) == 2
    assert json.loads(lines[0]) == {"question": "why", "answer": "so"}


def test_preset_of_a_package_reads_its_columns(small, tmp_path):
    (tmp_path / "asked.jsonl").write_text(json.dumps({"asked": " may I eat", "told": "no"}) + "\n")
    assert presets.detect_preset((), ("asked", "told")).package == "ftbridge-small 0.1.0"
    ftbridge.convert("asked.jsonl")
    (line,) = Path("data", "asked-train.xtuner.jsonl").read_text().splitlines()
    assert json.loads(line)["conversation"][0]["input"] == "may I eat?"


def test_family_of_a_package_is_detected_from_a_model(small, tmp_path):
    model = write_model(tmp_path / "model", model_type="parrot")
    assert detect_family(model).name == "parrot"
    assert get_family("parrot").cell("xtuner").prompt.render("", [("a", "b")]) == "Q: a\nA: b</s>"


def test_package_of_presets_and_families_is_read_without_import(small, tmp_path):
    (small / "ftbridge_small" / "__init__.py").write_text("raise SystemExit('was imported')")
    assert presets.load_preset("clinic").title == "What a clinic is asked"
    assert get_family("parrot").title == "Parrot"


PRESET, FAMILY = "What a clinic is asked", "a made-up model"


@pytest.mark.parametrize(
    ("file", "old", "new", "error", "message"),
    [
        (
            "presets/medqa",
            "",
            "",
            SetupError,
            "and a preset of ftbridge have the same name; uninstall one of the packages",
        ),
        ("presets/odd", PRESET, "[", InputError, "odd.yaml` of ftbridge-small 0.1.0"),
        ("presets/odd", PRESET, "7", InputError, "odd.yaml` of ftbridge-small 0.1.0"),
        ("presets/odd", PRESET, "!!python/object/apply:os.getcwd []", InputError, "odd.yaml` of ftbridge-small 0.1.0"),
        ("presets/odd", PRESET, "a\nsettings: {a: b}", InputError, "has `settings`, which only presets of ftbridge"),
        ("families/odd", "  parrot:\n", "  qwen3:\n", SetupError, "and ftbridge both have a family `qwen3`; uninst"),
        ("families/odd", "folder: parrot", "folder: (", InputError, r"`\(` is not a pattern"),
        ("families/odd", "{input}", "{input.__class__}", InputError, "has a field that no prompt has"),
        ("families/odd", FAMILY, "!!python/object/apply:os.getcwd []", InputError, "odd.yaml` of ftbridge-small 0.1.0"),
        ("families/odd", "status: rendered", "status: best", InputError, "odd.yaml` of ftbridge-small 0.1.0"),
    ],
)
def test_malformed_plugin_data_is_one_sentence(small, file, old, new, error, message):
    target = small / "ftbridge_small" / f"{file}.yaml"
    (known,) = target.parent.glob("*.yaml")
    text = known.read_text()
    known.unlink()
    assert old in text
    target.write_text(text.replace(old, new))
    read = presets.presets if file.startswith("presets") else load_families
    with pytest.raises(error, match=message):
        read()


def test_missing_folder_of_plugin_data_is_named(small):
    for file in (small / "ftbridge_small" / "presets").iterdir():
        file.unlink()
    (small / "ftbridge_small" / "presets").rmdir()
    with pytest.raises(SetupError, match=r"`small` in ftbridge.presets is not a folder of ftbridge-small 0.1.0"):
        presets.presets()
