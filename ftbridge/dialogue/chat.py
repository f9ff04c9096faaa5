"""`ftbridge chat`: talk to the model of a run, with the template, system prompt and stop tokens of its training."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.launchers import machine
from ftbridge.launchers.environment import interpreter
from ftbridge.templates import families
from ftbridge.weights.merge import adapter_of
from ftbridge.weights.sources import Card, Source, card_of, load_card, resolve


class Talk:
    """A conversation: it keeps what was said, and answers as the training taught."""

    def __init__(self, generator: Generator, system: str, sampling: Sampling) -> None:
        """Begin a conversation with `system` (may be "")."""
        self.system, self.sampling = system, sampling
        self.turns: list[tuple[str, str | None]] = []
        self._generator = generator
        self._stop = families.get(generator.card.family).stop

    def say(self, question: str) -> Iterator[str]:
        """Yield the answer piece by piece; it joins the history once it is whole."""
        pieces = []
        asked = [*self.turns, (question, None)]
        for piece in self._generator.ask(asked, self.system, self._stop, self.sampling):
            pieces.append(piece)
            yield piece
        self.turns.append((question, "".join(pieces)))

    def reset(self) -> None:
        """Forget what was said."""
        self.turns.clear()


@contextmanager
def talk(
    source: str | os.PathLike[str] | None = None,
    *,
    system: str | None = None,
    sampling: Sampling | None = None,
    device: str = "auto",
) -> Iterator[Talk]:
    """Load the model of a run (default: the last that succeeded) or of a folder, and yield a conversation.

    The merged model is used where there is one, else base and adapter, exporting first. `system` stands in for
    the training's system prompt.
    """
    found = resolve(source)
    card, model, adapter = _model(found)
    where = ("cuda" if machine.gpus() else "cpu") if device == "auto" else device
    with Generator(interpreter(found.project, card.backend), card, model, adapter, where) as generator:
        yield Talk(generator, card.system if system is None else system, sampling or Sampling())


def chat(
    source: str | os.PathLike[str] | None = None,
    prompt: str = "",
    *,
    system: str | None = None,
    sampling: Sampling | None = None,
    device: str = "auto",
    write: Callable[[str], None] | None = None,
) -> str:
    """Return the answer of a run's model to one question; `write` gets it piece by piece as well."""
    with talk(source, system=system, sampling=sampling, device=device) as conversation:
        answer = ""
        for piece in conversation.say(prompt):
            answer += piece
            if write:
                write(piece)
        return answer


def _model(source: Source) -> tuple[Card, Path, Path | None]:
    """Return card, model folder and adapter folder: a run's merged model where there is one, else its adapter."""
    merged = source.folder / "merged"
    if source.run and (card := load_card(merged)):
        return card, merged, None
    card = card_of(source)
    found = adapter_of(source)
    return (card, Path(card.base), found) if (found / "adapter_config.json").is_file() else (card, found, None)
