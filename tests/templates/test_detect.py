"""The family that a model folder is of, told by its files, or a sentence that asks for it."""

import json
import re
import time
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.templates.detect import detect_family, find_family
from ftbridge.templates.families import load_families


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
def test_family_is_told_by_a_models_files_before_its_name(tmp_path, family, folder, model_type, tokens, chat_template):
    model = model_folder(tmp_path / folder, model_type, tokens, chat_template)
    assert detect_family(model).name == family


def test_the_size_of_the_vocabulary_tells_baichuan_2(tmp_path):
    model = model_folder(tmp_path / "Baichuan-7B", "baichuan", vocab_size=125696)
    assert detect_family(model).name == "baichuan2"
    with pytest.raises(InputError, match="Baichuan 2"):
        detect_family(model_folder(tmp_path / "Baichuan2-7B", "baichuan", vocab_size=64000))


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
def test_folder_name_decides_the_family_where_nothing_else_does(tmp_path, folder, model_type, family):
    assert detect_family(model_folder(tmp_path / folder, model_type)).name == family


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
    assert detect_family(model).name == "qwen3"


def test_tokens_are_found_in_a_sentencepiece_file_and_in_the_tokenizers_code(tmp_path):
    model = model_folder(tmp_path / "model", "llama")
    (model / "tokenizer.model").write_bytes(b"\n\x05\n\x03<s>\x15\n\x06\n\x04</s>")
    assert detect_family(model).name == "llama2"
    other = model_folder(tmp_path / "other", "chatglm")
    (other / "tokenization_chatglm.py").write_text('special = ["[gMASK]", "sop", "<|user|>"]')
    assert detect_family(other).name == "chatglm3"


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
        detect_family(model)


@pytest.mark.parametrize(("folder", "config"), [("vicuna-7b", {}), ("here", {"_name_or_path": "lmsys/vicuna-7b"})])
def test_a_model_that_says_by_its_name_what_it_is_is_not_taken_for_another(tmp_path, folder, config):
    with pytest.raises(InputError, match="Llama 2"):
        detect_family(model_folder(tmp_path / folder, "llama", LLAMA, **config))


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
def test_every_published_template_is_taken_for_what_it_is_or_refused(tmp_path, public_data):
    folder = public_data.folder / "chat_templates"
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
            found = find_family(model)
            if number == 0:
                assert (found.name if found else "") == family, file
            elif found and found.name != family:
                assert found.name == "chatml", (file, other)
                assert file.stem in {"qwen2_5", "qwen3_instruct_2507"}
            if not found:
                with pytest.raises(InputError, match="say which one it is with `--template FAMILY`"):
                    detect_family(model)


def test_an_unknown_model_is_an_error_that_lists_the_families(tmp_path):
    with pytest.raises(InputError, match=r"(?s)`phi3`, is of no known family.*`--template FAMILY`.*glm4"):
        detect_family(model_folder(tmp_path / "Qwen2.5-7B", "phi3"))
    with pytest.raises(InputError, match=r"config\.json"):
        detect_family(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_damaged_file_of_a_model_is_named(tmp_path, name):
    model = model_folder(tmp_path / "model", "qwen2", CHATML)
    (model / name).write_text("{")
    with pytest.raises(InputError, match=name):
        detect_family(model)


@pytest.mark.slow
def test_a_large_vocabulary_is_searched_quickly(tmp_path):
    model = model_folder(tmp_path / "model", "llama", LLAMA)
    filler = ",".join(f'"Ġtoken{number}": {number}' for number in range(500_000))
    (model / "tokenizer.json").write_text("{" + filler + "}", encoding="utf-8")
    load_families()

    def cost(call):
        start = time.process_time()
        call()
        return time.process_time() - start

    assert detect_family(model).name == "llama2"
    # In turns with decoding that JSON, which it saves.
    turns = [
        (
            cost(lambda: detect_family(model)),
            cost(lambda: json.loads((model / "tokenizer.json").read_bytes())),
        )
        for _ in range(3)
    ]
    searched, decoded = map(min, zip(*turns, strict=True))
    assert searched < decoded / 3
