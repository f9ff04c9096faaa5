"""Families: what the table has, how one is told, and that our prompts are what the frameworks train."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.parsing.json_yaml import parse
from ftbridge.launchers.process.script import QUIET, SCRIPTS
from ftbridge.templates import detect, families
from ftbridge.templates.prompt import ChatPrompt, Token

HERE = Path(__file__).parent
QWENS = ("qwen1.5", "qwen2", "qwen2.5", "qwen3", "qwen3-instruct-2507", "qwen3.5")
THINKING = ("qwen3", "qwen3.5")
INTERNLMS = ("internlm2", "internlm2.5", "internlm3")
OTHERS = ("internlm", "llama2", "llama3", "glm4", "chatglm3", "baichuan2", "mistral", "gemma")
TURNS = (("What is the capital of France?", "Paris."), ("你好\n再见", "Answer two, with <s> no token."))
SYSTEM = "You answer briefly.\n只用一句话。"


def test_every_family_asked_for_is_there():
    assert {*QWENS, *INTERNLMS, *OTHERS} <= set(families.load())


@pytest.mark.parametrize("name", families.load())
def test_a_family_has_a_backend_and_a_reason(name):
    family = families.load()[name]
    assert family.name == name
    assert any(family.backends.values())
    assert set(family.backends) == {"xtuner", "llamafactory"}
    assert family.reason
    assert family.stop


@pytest.mark.parametrize("name", families.load())
def test_xtuner_gets_only_what_its_template_can_say(name):
    prompt = families.load()[name].cell("xtuner").prompt
    assert isinstance(prompt.system, str)
    assert isinstance(prompt.instruction, str)
    assert (prompt.answer, prompt.system_inside) == ("{output}", False)
    assert {"SYSTEM", "INSTRUCTION"} <= set(prompt.template_dict())


@pytest.mark.parametrize("name", ["internlm", "baichuan2"])
def test_an_empty_cell_names_the_backend_that_has_the_family(name):
    with pytest.raises(UsageError, match="`--backend xtuner`"):
        families.get(name).cell("llamafactory")


def test_the_table_is_parsed_strictly():
    good: dict[str, Any] = {"SYSTEM": "{system}", "INSTRUCTION": "{input}", "SUFFIX_AS_EOS": True}
    assert msgspec.convert(good, ChatPrompt).suffix_as_eos
    for bad in ({**good, "SUFIX": "x"}, {**good, "SUFFIX_AS_EOS": False}, {"SYSTEM": "{system}"}):
        with pytest.raises(InputError, match=r"families\.prompts|families"):
            parse(families._Table, {"prompts": {"one": bad}, "families": {}}, "families.yaml")


CELLS = [(name, backend) for name, family in families.load().items() for backend in family.backends]


@pytest.mark.parametrize(("name", "backend"), [(n, b) for n, b in CELLS if families.load()[n].backends[b]])
@pytest.mark.parametrize("system", ["", SYSTEM, 'say "{{ 7 }}" \\n'])
def test_the_chat_template_renders_what_is_trained(name, backend, system):
    prompt = families.get(name).cell(backend).prompt
    turns = [*TURNS, ("{input} \\n 'and' {% more", None)]
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        messages += [{"role": "assistant", "content": answer}] if answer is not None else []
    # As transformers sets it up.
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = environment.from_string(prompt.chat_template()).render(messages=messages, add_generation_prompt=True)
    assert shown == prompt.render(system, turns)


def test_thinking_is_off_where_a_model_can_think():
    off = {name for name, family in families.load().items() if family.thinking == "off"}
    assert off == set(THINKING)
    assert off == {n for n, b in CELLS if (cell := families.load()[n].backends[b]) and cell.enable_thinking is False}


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
def test_get_takes_a_family_or_a_template(given, name):
    found = families.get(given).name
    assert found == name or found.startswith("internlm")


def test_get_names_the_closest_family():
    with pytest.raises(UsageError, match=r"did you mean `qwen2\.5`"):
        families.get("qwen2.5b")


def test_get_refuses_a_template_of_families_that_differ(monkeypatch):
    table = dict(families.load())
    other = msgspec.structs.replace(table["qwen2"], backends=table["glm4"].backends | {"llamafactory": None})
    odd = msgspec.structs.replace(other, backends={"xtuner": table["qwen2"].backends["xtuner"], "llamafactory": None})
    monkeypatch.setattr(families, "load", lambda: {"one": table["qwen2"], "two": odd})
    with pytest.raises(UsageError, match="several families"):
        families.get("qwen_chat")


def test_render_is_what_stands_in_the_segments():
    prompt = families.get("llama2").cell("llamafactory").prompt
    assert prompt.segments("Be kind.", [("q", "a"), ("r", None)]) == [
        Token("<s>"),
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nq [/INST]",
        "a",
        Token("</s>"),
        Token("<s>"),
        "[INST] r [/INST]",
    ]
    rendered = prompt.render("", [("q {input} {0}", "a"), ("r", None)])
    assert rendered == "<s>[INST] q {input} {0} [/INST]a</s><s>[INST] r [/INST]"


def test_round_is_counted_from_one():
    prompt = ChatPrompt(system="{system}", instruction="[Round {round}] {input}:", suffix_as_eos=True, sep="\n")
    assert prompt.render("", [("q", "a"), ("r", None)]) == "[Round 1] q:a\n[Round 2] r:"


def model_folder(
    folder: Path, model_type: str, tokens: tuple[str, ...] = (), chat_template: str = "", **config: object
) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, "hidden_size": 8, **config}))
    if tokens or chat_template:
        added = {str(number): {"content": token} for number, token in enumerate(tokens)}
        values = {"added_tokens_decoder": added} | ({"chat_template": chat_template} if chat_template else {})
        (folder / "tokenizer_config.json").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return folder


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN = "{%% if first %%}<|im_start|>system\nYou are %s<|im_end|>\n{%% endif %%}"
PLAIN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HERMES = ("<|begin_of_text|>", "<|start_header_id|>", "<|im_start|>", "<|im_end|>")
GLM = ("<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>")
LLAMA = ("<unk>", "<s>", "</s>")


@pytest.mark.parametrize(
    ("family", "folder", "model_type", "tokens", "chat_template"),
    [
        ("qwen1.5", "Qwen2.5-7B", "qwen2", CHATML, QWEN % "a helpful assistant"),
        ("qwen2", "Qwen1.5-7B", "qwen2", CHATML, QWEN % "a helpful assistant."),
        ("qwen2.5", "Qwen2-7B", "qwen2", (*CHATML, "<tool_call>"), QWEN % "Qwen, created by Alibaba Cloud."),
        ("qwen2.5", "llama-3", "qwen2_moe", (*CHATML, "<tool_call>"), ""),
        ("qwen3", "Qwen3-4B-Instruct-2507", "qwen3", CHATML, "{% if enable_thinking %}<think>\n\n</think>"),
        ("qwen3-instruct-2507", "Qwen3-8B", "qwen3_moe", CHATML, "<|im_start|>assistant\n"),
        ("internlm", "internlm2-chat-7b", "internlm", (), ""),
        ("internlm3", "internlm2-chat-7b", "internlm3", CHATML, "<|im_start|>"),
        ("llama3", "Llama-2-7b", "llama", ("<|begin_of_text|>", "<|start_header_id|>"), ""),
        ("llama2", "Meta-Llama-3-8B", "llama", LLAMA, "<<SYS>>[INST]"),
        ("llama2", "base-without-template", "llama", LLAMA, ""),
        ("glm4", "chatglm3-6b", "chatglm", GLM, "[gMASK]<sop>"),
        ("glm4", "chatglm3-6b", "glm", GLM, "[gMASK]<sop>"),
        ("glm4", "chatglm3-6b", "glm4", GLM, "[gMASK]<sop>"),
        ("chatglm3", "glm-4-9b", "chatglm", ("[gMASK]", "sop", "<|user|>"), ""),
        ("mistral", "gemma-7b", "mistral", LLAMA, "[INST]"),
        ("gemma", "gemma-2-9b", "gemma", ("<bos>", "<start_of_turn>"), "<start_of_turn>"),
        ("gemma2", "gemma-7b", "gemma2", ("<bos>", "<start_of_turn>"), "<start_of_turn>"),
        ("gemma3", "gemma-7b", "gemma3_text", ("<bos>", "<start_of_turn>"), "<start_of_turn>"),
        ("gemma3", "gemma-2-9b", "gemma3", ("<bos>", "<start_of_turn>"), "<start_of_turn>"),
        ("qwen3.5", "Qwen3-4B", "qwen3_5", CHATML, "<think>"),
        ("qwen3.5", "Qwen2.5-7B", "qwen3_5_moe_text", CHATML, ""),
        ("chatml", "Meta-Llama-3-8B", "llama", (*LLAMA, *CHATML), PLAIN),
        ("chatml", "Mistral-7B", "mistral", (*LLAMA, *CHATML), PLAIN),
        ("chatml", "Qwen2.5-7B", "smollm3", CHATML, PLAIN),
        ("chatml", "Qwen2.5-7B", "phi", CHATML, ""),
        ("chatml-llama3", "Meta-Llama-3-8B", "llama", HERMES, "{{ '<|begin_of_text|>' }}" + PLAIN),
    ],
)
def test_the_folders_name_comes_last(tmp_path, family, folder, model_type, tokens, chat_template):
    model = model_folder(tmp_path / folder, model_type, tokens, chat_template)
    assert detect.detect(model).name == family


def test_the_size_of_the_vocabulary_tells_baichuan_2(tmp_path):
    model = model_folder(tmp_path / "Baichuan-7B", "baichuan", vocab_size=125696)
    assert detect.detect(model).name == "baichuan2"
    with pytest.raises(InputError, match="Baichuan 2"):
        detect.detect(model_folder(tmp_path / "Baichuan2-7B", "baichuan", vocab_size=64000))


@pytest.mark.parametrize(
    ("folder", "model_type", "family"),
    [
        ("internlm2_5-7b-chat", "internlm2", "internlm2.5"),
        ("internlm2-chat-7b", "internlm2", "internlm2"),
        ("somewhere", "internlm2", "internlm2.5"),
        ("Qwen1.5-0.5B", "qwen2", "qwen1.5"),
        ("models--Qwen--Qwen3-4B-Instruct-2507/snapshots/0123abc", "qwen3", "qwen3-instruct-2507"),
        ("Qwen3-4B-Base", "qwen3", "qwen3"),
        ("Llama-2-7b", "llama", "llama2"),
        ("glm-4-9b-chat", "chatglm", "glm4"),
        ("chatglm3-6b", "chatglm", "chatglm3"),
    ],
)
def test_the_name_decides_where_nothing_else_does(tmp_path, folder, model_type, family):
    assert detect.detect(model_folder(tmp_path / folder, model_type)).name == family


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json", "list"])
def test_the_chat_template_may_stand_elsewhere(tmp_path, name):
    model = model_folder(tmp_path / "model", "qwen3", CHATML)
    text = "<think>"
    if name == "list":
        file, content = (
            "tokenizer_config.json",
            json.dumps({"chat_template": [{"name": "default", "template": text}]}),
        )
        (model / "added_tokens.json").write_text('{"<|im_start|>": 1}')
    else:
        file, content = name, text if name.endswith("jinja") else json.dumps({"chat_template": text})
    (model / file).write_text(content)
    assert detect.detect(model).name == "qwen3"


def test_tokens_are_found_in_a_sentencepiece_file_and_in_the_tokenizers_code(tmp_path):
    model = model_folder(tmp_path / "model", "llama")
    (model / "tokenizer.model").write_bytes(b"\n\x05\n\x03<s>\x15\n\x06\n\x04</s>")
    assert detect.detect(model).name == "llama2"
    other = model_folder(tmp_path / "other", "chatglm")
    (other / "tokenization_chatglm.py").write_text('special = ["[gMASK]", "sop", "<|user|>"]')
    assert detect.detect(other).name == "chatglm3"


@pytest.mark.parametrize(
    ("model_type", "tokens", "chat_template"),
    [
        ("qwen2", (*CHATML, "<\uff5cUser\uff5c>"), ""),
        ("llama", (*LLAMA, "<|im_start|>"), ""),
        ("llama", LLAMA, "<|user|>\n"),
        ("mistral", (*LLAMA, "<SPECIAL_20>"), "[INST]"),
        ("chatglm", ("[gMASK]", "sop"), ""),
        ("qwen2", (*CHATML, "<tool_call>"), "<|im_start|><think>"),  # QwQ
        ("llama", HERMES, "<|start_header_id|>"),  # a template that the vocabulary gainsays
        ("llama", (*LLAMA, *CHATML), "[INST]"),
        ("mistral", (*LLAMA, *CHATML), PLAIN.replace("im_end", "im_sep")),
        ("glm4", GLM, "[gMASK]<sop><think>"),
    ],
)
def test_a_model_with_another_prompt_is_not_taken_for_one_of_ours(tmp_path, model_type, tokens, chat_template):
    model = model_folder(tmp_path / "Qwen2.5-Llama-2-Mistral-chatglm3", model_type, tokens, chat_template)
    with pytest.raises(
        InputError, match=rf"(?s)`{model_type}`, has vocabulary, chat template or name.*`--template FAMILY`.*qwen2\.5"
    ):
        detect.detect(model)


@pytest.mark.parametrize(("folder", "config"), [("vicuna-7b", {}), ("here", {"_name_or_path": "lmsys/vicuna-7b"})])
def test_a_model_that_says_by_its_name_what_it_is_is_not_taken_for_another(tmp_path, folder, config):
    with pytest.raises(InputError, match="Llama 2"):
        detect.detect(model_folder(tmp_path / folder, "llama", LLAMA, **config))


# What the templates in the shared folder belong to, by a model's type and its own tokens beside them.
PUBLISHED = {
    "qwen2_5": ("qwen2", "qwen2.5"),
    "qwen3": ("qwen3", "qwen3"),
    "qwen3_instruct_2507": ("qwen3", "qwen3-instruct-2507"),
    "qwen3_5_think": ("qwen3_5", "qwen3.5"),
    "qwen3_5_nothink": ("qwen3_5_text", "qwen3.5"),
    "qwen3_6": ("qwen3_5_moe", "qwen3.5"),
    "llama3": ("llama", "llama3"),
    "llama3_1": ("llama", "llama3"),
    "llama3_2": ("llama", "llama3"),
    "gemma": ("gemma", "gemma"),
    "gemma3": ("gemma3", "gemma3"),
    "phi3": ("phi3", ""),
    "phi3_5": ("phi3", ""),
    "glm4moe": ("glm4_moe", ""),
    "gptoss": ("gpt_oss", ""),
    "deepseekv3": ("deepseek_v3", ""),
    "cohere": ("cohere", ""),
    "cohere2": ("cohere2", ""),
    "lfm2": ("lfm2", ""),
    "lfm2_2_5": ("lfm2", ""),
    "nemotron_3_nano": ("nemotron_h", ""),
    "nemotron_3_super": ("nemotron_h", ""),
    "nemotron_3_ultra": ("nemotron_h", ""),
}


@pytest.mark.slow
def test_every_published_template_is_taken_for_what_it_is_or_refused(tmp_path, shared):
    folder = shared / "chat_templates"
    known = json.loads((folder / "tokens.json").read_text())
    for file in folder.glob("*.jinja"):
        model_type, family = PUBLISHED[file.stem]
        text, tokens = file.read_text(), known.get(file.stem, {})
        special = {*re.findall(r"<[|\uff5c][^<> ]+?[|\uff5c]>|<tool_call>|<\w+_of_turn>|\[gMASK\]|<sop>", text)}
        special |= {tokens[name] for name in ("bos_token", "eos_token") if tokens.get(name)}
        # The others are models of another type that were trained on this template.
        for number, other in enumerate((model_type, "llama", "mistral", "anything")):
            model = model_folder(tmp_path / f"{file.stem}-{number}", other, tuple(special), text)
            config = json.loads((model / "tokenizer_config.json").read_text())
            (model / "tokenizer_config.json").write_text(json.dumps({**config, **tokens}))
            found = detect.find(model)
            if number == 0:
                assert (found.name if found else "") == family, file
            elif found and found.name != family:
                assert found.name == "chatml", (file, other)
                assert file.stem in {"qwen2_5", "qwen3_instruct_2507"}
            if not found:
                with pytest.raises(InputError, match="say which one it is with `--template FAMILY`"):
                    detect.detect(model)


def test_an_unknown_model_is_an_error_that_lists_the_families(tmp_path):
    with pytest.raises(InputError, match=r"(?s)`phi3`, is of no known family.*`--template FAMILY`.*glm4"):
        detect.detect(model_folder(tmp_path / "Qwen2.5-7B", "phi3"))
    with pytest.raises(InputError, match=r"config\.json"):
        detect.detect(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_damaged_file_is_named(tmp_path, name):
    model = model_folder(tmp_path / "model", "qwen2", CHATML)
    (model / name).write_text("{")
    with pytest.raises(InputError, match=name):
        detect.detect(model)


@pytest.mark.slow
def test_a_large_vocabulary_is_searched_quickly(tmp_path):
    model = model_folder(tmp_path / "model", "llama", LLAMA)
    filler = ",".join(f'"Ġtoken{number}": {number}' for number in range(500_000))
    (model / "tokenizer.json").write_text("{" + filler + "}", encoding="utf-8")
    families.load()

    def cost(call):
        start = time.process_time()
        call()
        return time.process_time() - start

    assert detect.detect(model).name == "llama2"
    # In turns with decoding that JSON, which it saves.
    turns = [
        (
            cost(lambda: detect.detect(model)),
            cost(lambda: json.loads((model / "tokenizer.json").read_bytes())),
        )
        for _ in range(3)
    ]
    searched, decoded = map(min, zip(*turns, strict=True))
    assert searched < decoded / 3


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


def _case(family: families.Family, backend: str, folder: Path) -> dict[str, Any]:
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
        env={**os.environ, **QUIET, "PYTHONPATH": str(SCRIPTS)},
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
    return [cell.prompt for family in families.load().values() for cell in family.backends.values() if cell]


@pytest.fixture(scope="module")
def frameworks(training_python, vocabularies):
    """What each backend's own code makes of the conversations; one process each, imports cost 10 s."""
    answers = {}
    for backend in ("xtuner", "llamafactory"):
        cases = [_case(each, backend, vocabularies) for each in families.load().values() if each.backends[backend]]
        out = vocabularies / f"{backend}-answer.json"
        _run(training_python, "framework_ids.py", {"backend": backend, "cases": cases, "out": str(out)})
        answers[backend] = json.loads(out.read_text(encoding="utf-8"))
    return answers


@pytest.mark.framework
def test_named_templates_are_the_frameworks_own(frameworks):
    for family in families.load().values():
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
    assert len(encoded) == 4 * sum(1 for family in families.load().values() if family.backends[backend])
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
def test_both_frameworks_train_the_same_ids_but_where_known(frameworks):
    one, two = (frameworks[backend]["encoded"] for backend in ("xtuner", "llamafactory"))
    other: dict[str, set[str]] = {}
    for case in one.keys() & two.keys():
        if one[case]["ids"] != two[case]["ids"]:
            family, conversation = case.split(maxsplit=1)
            other.setdefault(family, set()).add(conversation)
    assert other == OTHER_IDS


@pytest.mark.framework
def test_both_frameworks_train_the_same_labels_where_known(frameworks):
    one, two = (frameworks[backend]["encoded"] for backend in ("xtuner", "llamafactory"))
    same = {case.split()[0] for case in one.keys() & two.keys() if one[case]["labels"] == two[case]["labels"]}
    # LLaMA-Factory trains on more elsewhere: a newline, an eos token (see families.yaml).
    assert same == {"llama2", "llama3", "mistral"}
