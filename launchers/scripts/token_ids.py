"""A token's id by its name, for what asks and for what trains: neither takes another token in its place."""

from typing import Any


def token_id(tokenizer: Any, name: str) -> int | None:
    """Return the id of the token called `name`, None where there is none."""
    number = tokenizer.convert_tokens_to_ids(name)
    is_unknown = number == tokenizer.unk_token_id and name != tokenizer.unk_token
    return number if isinstance(number, int) and not is_unknown else None


def needed_token_id(tokenizer: Any, name: str) -> int:
    """Return the id of a token that a prompt has; raises ValueError where there is none."""
    number = token_id(tokenizer, name)
    if number is None:
        raise ValueError(f"the tokenizer has no `{name}`: this is the prompt of another model family")
    return number
