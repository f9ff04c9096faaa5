"""Runs in the training environment: the texts of a SentencePiece-like tokenizer's tokens, by the preview helper.

`python token_texts.py SCRIPTS`; prints JSON as the last line; imports nothing of ftbridge.
"""

import json
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, sys.argv[1])
from encode_samples import TokenTexts

words = ["<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁ab", "药"]
model = models.BPE({word: at for at, word in enumerate(words)}, [("▁", "a"), ("▁a", "b")], byte_fallback=True)
tokenizer = Tokenizer(model)
tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
tokenizer.decoder = decoders.Sequence(parts)
tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in words[:2]])
made = PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def encode(text):
    """Return the ids of a text by itself."""
    return made.encode(text, add_special_tokens=False)


question, answer, cut = encode("ab 药💊"), encode("ab"), encode("💊")[1:-1]
ids = [0, *question, *answer, 1, *cut]
labels = [-100] * (1 + len(question)) + [*answer, 1] + [-100] * len(cut)
sys.stdout.write("\n" + json.dumps(TokenTexts(made).decode(ids, labels)) + "\n")
