"""Make a tiny encoder with random weights: `python encoders.py CLASS OUT WORD ...` in the training environment.

CLASS is bert or roberta, whose positions are counted otherwise; it takes texts of 16 tokens, and knows these words.
"""

import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerFast

LONGEST = 16
SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}


def main():
    """Write the model's folder."""
    kind, out, *words = sys.argv[1:]
    torch.manual_seed(0)
    vocabulary = {word: at for at, word in enumerate(dict.fromkeys([*SPECIAL.values(), *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(out)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LONGEST + (kind == "roberta"),  # behind the one of the padding
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    AutoModelForMaskedLM.from_config(config).save_pretrained(out)


main()
