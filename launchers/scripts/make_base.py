"""Make a small base model with random weights and its own tokenizer, for trials without a download.

Runs inside the training environment: `python make_base.py '{"texts": "FILE.json", "out": "DIR", ...}'`, where
the file holds a list of texts. The architecture is Qwen2's, the tokenizer a byte-level BPE of its class, trained
on the texts; the weights come from a fixed seed.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2TokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def make_tokenizer(texts: list[str], vocabulary: int) -> Qwen2TokenizerFast:
    """Return a byte-level BPE tokenizer of Qwen2's class, with at most `vocabulary` tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return Qwen2TokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",  # noqa: S106 - tokens, not secrets
        pad_token="<|endoftext|>",  # noqa: S106
        unk_token=None,
        bos_token=None,
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
    )


def main() -> None:
    """Write the model folder that the spec names."""
    spec = json.loads(sys.argv[1])
    texts = json.loads(Path(spec["texts"]).read_text(encoding="utf-8"))
    torch.manual_seed(spec["seed"])
    tokenizer = make_tokenizer(texts, spec["vocabulary"])
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=spec["hidden"],
        intermediate_size=2 * spec["hidden"],
        num_hidden_layers=spec["layers"],
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=eos,
        dtype="bfloat16",
    )
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    # The output layer is frozen in training; wide rows let the logits, and so the answers, become certain.
    torch.nn.init.normal_(model.lm_head.weight, std=spec["output_std"])
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(spec["out"])
    tokenizer.save_pretrained(spec["out"])
    sys.stdout.write(f"\n{spec['out']}\n")


if __name__ == "__main__":
    main()
