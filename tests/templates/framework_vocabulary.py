"""Runs in the training environment: train a small BPE vocabulary per family, each special token as one token.

Byte-level as Qwen's and Llama 3's, or with a space before every text as SentencePiece has it.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

spec = json.load(sys.stdin)
for name, tokens in spec["tokens"].items():
    tokenizer = Tokenizer(models.BPE())
    spaced = name in spec["spaced"]
    prefix = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.pre_tokenizer = prefix if spaced else pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted({*"".join(spec["texts"])} - {" "}) if spaced else pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(spec["texts"], trainer)
    tokenizer.save(str(Path(spec["folder"]) / f"{name}.json"))
