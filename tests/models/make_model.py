"""Make a small model of a class in the shape of its published ones; runs in the training environment.

`make_model.py '{"class": ..., "tokenizer": ..., "texts": "FILE.json", "out": "DIR"}'`: `class` and `tokenizer` are
entries of classes.yaml and tokenizers.yaml, the file holds a list of texts. The weights are random, from a fixed seed,
in bfloat16.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerFast

VOCABULARY = 400


def make_tokenizer(texts: list[str], kind: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with the tokens of `kind`, whose ids come first."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[
            AddedToken(token, special=special == "special", normalized=False)
            for special in ("special", "added")
            for token in kind.get(special, ())
        ],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if prefix := kind.get("prefix"):
        bpe.post_processor = processors.TemplateProcessing(
            single=[*prefix, "$A"],
            pair=[*prefix, "$A", "$B"],
            special_tokens=[(token, bpe.token_to_id(token)) for token in prefix],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=kind.get("bos"),
        eos_token=kind["eos"],
        pad_token=kind["pad"],
        chat_template="".join(kind["chat_template"]),
        model_max_length=2048,
    )


def make_config(wanted: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Any:
    """Return the config that `wanted` describes, the tokens' ids in that of the language model."""
    tokens = {"vocab_size": len(tokenizer)} | {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
    }
    text = {**wanted.get("text_config", wanted), **tokens}
    if text["model_type"].startswith("gemma4"):
        text["vocab_size_per_layer_input"] = len(tokenizer)
    nested = {**wanted, "text_config": text} if "text_config" in wanted else text
    return AutoConfig.for_model(**nested)


def main() -> None:
    """Write the model folder that the spec names."""
    spec = json.loads(sys.argv[1])
    kind = spec["class"]
    tokenizer = make_tokenizer(json.loads(Path(spec["texts"]).read_text(encoding="utf-8")), spec["tokenizer"])
    config = make_config(kind["config"], tokenizer)
    torch.manual_seed(0)
    model = getattr(transformers, kind["architecture"])._from_config(config, dtype=torch.bfloat16)
    # A token whose output weights are zeros is never the likeliest: no answer ends before it has begun.
    silent = tokenizer.convert_tokens_to_ids(spec["tokenizer"]["special"])
    model.get_output_embeddings().weight.data[silent] = 0
    stops = tokenizer.convert_tokens_to_ids(spec["tokenizer"].get("stops", [tokenizer.eos_token]))
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(spec["out"])
    tokenizer.save_pretrained(spec["out"])


if __name__ == "__main__":
    main()
