"""The tokenizer of a model's folder, or a sentence that says why it cannot be loaded."""

from pathlib import Path
from typing import Any


class TokenizerError(ValueError):
    """A tokenizer that cannot be loaded."""


def load_tokenizer(model: str, *, trust_remote_code: bool) -> Any:
    """Return the tokenizer in the folder `model`; raises TokenizerError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
    except Exception as error:  # transformers, tokenizers and the model's own code raise what they like
        config = Path(model, "tokenizer_config.json")
        if not trust_remote_code and config.is_file() and '"auto_map"' in config.read_text("utf-8", "replace"):
            why = "it comes with Python code of its own. If you trust who made it, add `--trust-remote-code`"
        else:
            why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise TokenizerError(f"the tokenizer of `{model}` cannot be loaded: {why}") from error
