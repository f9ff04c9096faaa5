"""What either transformers makes of a model folder; runs in both training environments.

`two_readers.py make FOLDER` writes for each class FOLDER/CLASS/base and FOLDER/CLASS/trained, as transformers saves a
model after a training; `two_readers.py read FOLDER...` prints what each answers and how its tokenizer reads, as JSON.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

WORDS = ["What is aspirin for?", " Aspirin relieves\n\npain<|im_end|> ", "阿 司  匹林 <tool> x"]
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<pad>", "<mask>"]
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 420, "max_position_embeddings": 256,
    "pad_token_id": 5, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
# By class: its config, and the class of its tokenizer.
CLASSES = {
    "qwen2": ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "Qwen2TokenizerFast"),
    "qwen3": ({"rope_parameters": {**YARN, "rope_theta": 1e6}}, "Qwen2TokenizerFast"),
    "llama": ({"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}, "PreTrainedTokenizerFast"),
    "glm4": ({"rope_parameters": {"rope_theta": 3e4, "partial_rotary_factor": 0.25}}, "PreTrainedTokenizerFast"),
    "gemma3_text": (
        {
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 8,
            "query_pre_attn_scalar": 8,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
            },
        },
        "GemmaTokenizerFast",
    ),
    "qwen3_moe": ({**EXPERTS, "rope_parameters": {"rope_theta": 1e6}}, "Qwen2TokenizerFast"),
}


def tokenizer(kind):
    """Return a tokenizer of a class, of bytes or as SentencePiece has it."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token=SPECIAL[0], fuse_unk=True))
    alphabet = []
    if kind == "GemmaTokenizerFast":
        bpe.normalizer = normalizers.Replace(" ", "▁")
        bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    else:
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        special, alphabet = SPECIAL, pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        WORDS * 3,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    named = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    named |= {"bos_token": None} if kind == "Qwen2TokenizerFast" else {"bos_token": "<s>"}
    extra = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    template = "{% for message in messages %}{{ message['role'] + message['content'] }}{% endfor %}"
    made = getattr(transformers, kind)(tokenizer_object=bpe, chat_template=template, **named, **extra)
    made.model_max_length = 256
    return made


def make(folder):
    for name, (config, kind) in CLASSES.items():
        words = tokenizer(kind)
        for part in ("base", "trained"):
            torch.manual_seed(len(part))
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **SIZES, **config, dtype="float32"))
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=0.3)
            model.save_pretrained(Path(folder, name, part))
            # A training may add tokens.
            if part == "trained" and name != "qwen3":
                words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<tool>"]})
            words.save_pretrained(Path(folder, name, part))


def read(*folders):
    found = {}
    for folder in folders:
        words = AutoTokenizer.from_pretrained(folder)
        named = json.loads(Path(folder, "tokenizer_config.json").read_text(encoding="utf-8"))["tokenizer_class"]
        by_class = getattr(transformers, named).from_pretrained(folder)
        model, told = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        ids = torch.arange(3, 43)[None]
        with torch.inference_mode():
            logits = model.eval()(ids).logits[0, -1, :50]
        found[folder] = {
            "missing": sorted(told["missing_keys"]) + sorted(told["unexpected_keys"]),
            "logits": logits.tolist(),
            "ids": [words.encode(text) for text in WORDS],
            "by class": [by_class.encode(text) for text in WORDS],
            "plain": [words.encode(text, add_special_tokens=False) for text in WORDS],
            "special": [words.bos_token, words.eos_token, words.pad_token, words.unk_token],
            "all": sorted(words.all_special_tokens),
            "length": len(words),
            "text": words.decode(words.encode(WORDS[1])),
            "chat": words.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False),
        }
    print("\n" + json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    {"make": make, "read": read}[sys.argv[1]](*sys.argv[2:])
