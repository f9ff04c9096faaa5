"""Whether a base is still what a training began with: an adapter means nothing to other weights of the same shape."""

from pathlib import Path

from ftbridge.core.console import say, some
from ftbridge.core.errors import InputError
from ftbridge.launchers.runs.fingerprint import changes
from ftbridge.weights.source import Card


def say_changes(card: Card, *, refuse: bool = False) -> None:
    """Name what in the card's base is not as the training had it; nothing is said of a training without a record.

    With `refuse`, other weights are an InputError.
    """
    if not card.trained_on or not Path(card.base).is_dir():
        return
    weights, files = changes(Path(card.base), card.trained_on)
    who = f"run `{card.run}`" if card.run else "the adapter"
    if weights:
        found = f"the base `{card.base}` does not have the weights that {who} was trained on: {weights}"
        if refuse:
            raise InputError(
                f"{found}. Put it back as it was, or name a base yourself: `--model {card.base}` takes this one"
            )
        say(f"warning: {found}")
    if files:
        named = some([f"`{name}`" for name in files], 3)
        say(f"warning: in the base `{card.base}`, {named} changed since {who} was trained")
