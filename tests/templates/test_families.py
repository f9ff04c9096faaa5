"""Families: what the table has, and that our prompts are what the frameworks train."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.parsing.json_yaml import parse
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from ftbridge.templates import families
from ftbridge.templates.families import Family, _FamiliesFile, get_family, load_families
from ftbridge.templates.prompt import ChatPrompt

from ..builders.prompts import SYSTEM, TURNS  # noqa: TID252

HERE = Path(__file__).parent
QWENS = ("qwen1.5", "qwen2", "qwen2.5", "qwen3", "qwen3-instruct-2507", "qwen3.5")
THINKING = ("qwen3", "qwen3.5")
INTERNLMS = ("internlm2", "internlm2.5", "internlm3")
OTHERS = ("internlm", "llama2", "llama3", "glm4", "chatglm3", "baichuan2", "mistral", "gemma")


def test_known_families_are_all_in_the_table():
    assert {*QWENS, *INTERNLMS, *OTHERS} <= set(load_families())


@pytest.mark.parametrize("name", load_families())
def test_a_family_has_a_backend_and_a_reason(name):
    family = load_families()[name]
    assert family.name == name
    assert any(family.backends.values())
    assert set(family.backends) == {"xtuner", "llamafactory"}
    assert family.reason
    assert family.stop


@pytest.mark.parametrize("name", load_families())
def test_xtuner_gets_only_what_its_template_can_say(name):
    prompt = load_families()[name].cell("xtuner").prompt
    assert isinstance(prompt.system, str)
    assert isinstance(prompt.instruction, str)
    assert (prompt.answer, prompt.system_inside) == ("{output}", False)
    assert {"SYSTEM", "INSTRUCTION"} <= set(prompt.template_dict())


@pytest.mark.parametrize("name", ["internlm", "baichuan2"])
def test_an_empty_cell_names_the_backend_that_has_the_family(name):
    with pytest.raises(UsageError, match="`--backend xtuner`"):
        get_family(name).cell("llamafactory")


def test_malformed_prompt_in_the_table_of_families_is_refused():
    good: dict[str, Any] = {"SYSTEM": "{system}", "INSTRUCTION": "{input}", "SUFFIX_AS_EOS": True}
    assert msgspec.convert(good, ChatPrompt).suffix_as_eos
    for bad in ({**good, "SUFIX": "x"}, {**good, "SUFFIX_AS_EOS": False}, {"SYSTEM": "{system}"}):
        with pytest.raises(InputError, match=r"families\.prompts|families"):
            parse(_FamiliesFile, {"prompts": {"one": bad}, "families": {}}, "families.yaml")


CELLS = [(name, backend) for name, family in load_families().items() for backend in family.backends]


def test_thinking_is_off_where_a_model_can_think():
    off = {name for name, family in load_families().items() if family.thinking == "off"}
    assert off == set(THINKING)
    assert off == {n for n, b in CELLS if (cell := load_families()[n].backends[b]) and cell.enable_thinking is False}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Qwen3", "qwen3"),
        ("qwen", "qwen2.5"),
        ("qwen_chat", "qwen2.5"),
        ("llama3_chat", "llama3"),
        ("intern2", None),
    ],
)
def test_family_is_found_by_its_name_or_a_template(given, name):
    found = get_family(given).name
    assert found == name or found.startswith("internlm")


def test_get_names_the_closest_family():
    with pytest.raises(UsageError, match=r"did you mean `qwen2\.5`"):
        get_family("qwen2.5b")


def test_get_refuses_a_template_of_families_that_differ(monkeypatch):
    table = dict(load_families())
    other = msgspec.structs.replace(table["qwen2"], backends=table["glm4"].backends | {"llamafactory": None})
    odd = msgspec.structs.replace(other, backends={"xtuner": table["qwen2"].backends["xtuner"], "llamafactory": None})
    monkeypatch.setattr(families, "load_families", lambda: {"one": table["qwen2"], "two": odd})
    with pytest.raises(UsageError, match="several families"):
        get_family("qwen_chat")


# The made-up vocabularies: the class that XTuner's rule looks at; the special tokens, bos and eos first.
TOKENS = {
    "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"],
    "internlm": ["<s>", "</s>", "<eoh>", "<eoa>"],
    "internlm2": ["<s>", "</s>", "<|im_start|>", "<|im_end|>"],
    "llama3": [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ],
    "llama2": ["<s>", "</s>"],
    "glm4": [
        "[gMASK]",
        "<|endoftext|>",
        "<sop>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
    ],
    "chatglm3": ["[gMASK]", "</s>", "sop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"],
    "baichuan2": ["<s>", "</s>", "<reserved_106>", "<reserved_107>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]"],
    "gemma": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    "hermes": ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"],
}
# These have a SentencePiece vocabulary, where it matters which texts are encoded together.
SPACED = ("internlm", "internlm2", "llama2", "chatglm3", "baichuan2", "mistral")
VOCABULARY = {
    **dict.fromkeys(QWENS, "qwen"),
    **dict.fromkeys(INTERNLMS, "internlm2"),
    **dict.fromkeys(("gemma2", "gemma3"), "gemma"),
    "chatml": "qwen",
    "chatml-llama3": "hermes",
}


def _case(family: Family, backend: str, folder: Path) -> dict[str, Any]:
    cell = family.cell(backend)
    vocabulary = VOCABULARY.get(family.name, family.name)
    bos, eos = TOKENS[vocabulary][:2]
    eos = "<|endoftext|>" if vocabulary == "qwen" else eos
    conversations = []
    for name, system in (("system", SYSTEM), ("none", "")):
        for turns in (TURNS, TURNS[:1]):
            asked = [*turns[:-1], (turns[-1][0], None)]
            conversations.append(
                {
                    "name": f"{name} {len(turns)}",
                    "system": system,
                    "turns": turns,
                    "prompt": cell.prompt.segments(system, asked),
                    "sample": cell.prompt.segments(system, turns),
                }
            )
    return {
        "family": family.name,
        "tokenizer": str(folder / f"{vocabulary}.json"),
        "bos": None if vocabulary in {"qwen", "glm4"} else bos,
        "eos": eos,
        "template": cell.name or cell.prompt.template_dict(),
        "enable_thinking": cell.enable_thinking,
        "prompt_bos": cell.prompt.bos,
        "prompt_eos": cell.prompt.eos,
        "conversations": conversations,
    }


def _run(python: Path, script: str, spec: dict[str, Any]) -> None:
    code = (HERE / script).read_text(encoding="utf-8")
    done = subprocess.run(
        [python, "-c", code],
        input=msgspec.json.encode(spec),
        capture_output=True,
        check=False,
        timeout=300,
        env={**os.environ, **CHILD_ENV, "PYTHONPATH": str(SCRIPTS)},
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]


@pytest.fixture(scope="module")
def vocabularies(training_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabularies")
    texts = [
        SYSTEM,
        *(text for turn in TURNS for text in turn),
        "\n\n",
        "<s>[INST] <<SYS>> Paris.\nWhat [/INST]",
    ]
    texts += [prompt.render("S", TURNS) for prompt in _prompts()]
    spec = {"tokens": TOKENS, "spaced": SPACED, "texts": texts, "folder": str(folder)}
    _run(training_python, "framework_vocabulary.py", spec)
    return folder


def _prompts() -> list[ChatPrompt]:
    return [cell.prompt for family in load_families().values() for cell in family.backends.values() if cell]


@pytest.fixture(scope="module")
def frameworks(training_python, vocabularies):
    """What each backend's own code makes of the conversations; one process each, imports cost 10 s."""
    answers = {}
    for backend in ("xtuner", "llamafactory"):
        cases = [_case(each, backend, vocabularies) for each in load_families().values() if each.backends[backend]]
        out = vocabularies / f"{backend}-answer.json"
        _run(training_python, "framework_ids.py", {"backend": backend, "cases": cases, "out": str(out)})
        answers[backend] = json.loads(out.read_text(encoding="utf-8"))
    return answers


@pytest.mark.framework
def test_named_templates_are_the_frameworks_own(frameworks):
    for family in load_families().values():
        cell = family.backends["xtuner"]
        if cell and cell.name:
            assert cell.prompt.template_dict() == frameworks["xtuner"]["templates"][cell.name]
        cell = family.backends["llamafactory"]
        if cell:
            assert cell.name in frameworks["llamafactory"]["templates"]


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_our_prompt_is_what_the_framework_trains(frameworks, backend):
    encoded = frameworks[backend]["encoded"]
    assert len(encoded) == 4 * sum(1 for family in load_families().values() if family.backends[backend])
    wrong = [case for case, ids in encoded.items() if ids["our_prompt"] != ids["prompt"]]
    assert wrong == []


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_our_whole_sample_is_what_the_framework_trains(frameworks, backend):
    encoded = frameworks[backend]["encoded"]
    # LLaMA-Factory's `efficient_eos` templates end a sample, but no earlier answer, with the eos token.
    late = {"glm4", "chatglm3", "gemma2"} if backend == "llamafactory" else set()
    for case, ids in encoded.items():
        whole = ids["ids"][:-1] if case.split()[0] in late else ids["ids"]
        assert ids["our_sample"] == whole, case


@pytest.mark.framework
def test_llamafactory_infers_with_the_prompt_it_trained(frameworks):
    encoded = frameworks["llamafactory"]["encoded"]
    # At inference Qwen 3's empty block of thought stands before the last answer only.
    other = {case for case, ids in encoded.items() if ids["inference"] != ids["prompt"]}
    assert other == {f"{family} {system} 2" for family in THINKING for system in ("system", "none")}


# Where the frameworks train on different ids, by conversation: a system text or none, two turns or one.
OTHER_IDS = {
    "llama2": {"system 2", "system 1"},  # where [INST] stands
    "glm4": {"system 2", "none 2"},  # an end of text after an earlier answer
    # The same, with the prefix again; and which text a newline is encoded with.
    "chatglm3": {"system 2", "system 1", "none 2", "none 1"},
    # Where [INST] stands; in other vocabularies also the space before an answer.
    "mistral": {"system 2", "system 1"},
    "gemma": {"system 2", "system 1"},  # the system text is a turn of its own, or within the question
    "gemma3": {"system 2", "system 1"},
    "gemma2": {"system 2", "system 1", "none 2", "none 1"},  # the same, and <eos> at the end
}


@pytest.mark.framework
def test_frameworks_train_the_same_ids_except_where_known(frameworks):
    one, two = (frameworks[backend]["encoded"] for backend in ("xtuner", "llamafactory"))
    other: dict[str, set[str]] = {}
    for case in one.keys() & two.keys():
        if one[case]["ids"] != two[case]["ids"]:
            family, conversation = case.split(maxsplit=1)
            other.setdefault(family, set()).add(conversation)
    assert other == OTHER_IDS


@pytest.mark.framework
def test_frameworks_train_the_same_labels_where_known(frameworks):
    one, two = (frameworks[backend]["encoded"] for backend in ("xtuner", "llamafactory"))
    same = {case.split()[0] for case in one.keys() & two.keys() if one[case]["labels"] == two[case]["labels"]}
    # LLaMA-Factory trains on more elsewhere: a newline, an eos token (see families.yaml).
    assert same == {"llama2", "llama3", "mistral"}
