"""A model that answers, in a child process of the training environment."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import msgspec

from ftbridge.core.errors import FrameworkError
from ftbridge.launchers.environment import HELPERS, QUIET
from ftbridge.weights.sources import Card


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is chosen: at most `max_new_tokens`; `temperature` 0 takes the likeliest token each time."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0


class Generator:
    """A loaded model. Use it in a `with` block; `ask` streams the answer to a conversation.

    Raises FrameworkError, with the end of the child's messages, where the model cannot be loaded or dies.
    """

    def __init__(self, python: Path, card: Card, model: Path, adapter: Path | None, device: str) -> None:
        """Start to load `model`, with `adapter` on it where there is one."""
        self.card = card
        spec = {
            "model": str(model),
            "adapter": str(adapter) if adapter else None,
            "device": device,
            "trust_remote_code": card.trust_remote_code,
        }
        environment = {**os.environ, **QUIET} | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})
        self._messages: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._child = subprocess.Popen(
            [str(python), str(HELPERS / "generate.py"), msgspec.json.encode(spec).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=environment,
        )

    def __enter__(self) -> Self:
        """Wait until the model is loaded."""
        try:
            self._read()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        self.close()

    def ask(
        self, turns: Sequence[tuple[str, str | None]], system: str, stop: Sequence[str], sampling: Sampling
    ) -> Iterator[str]:
        """Yield the answer to the last turn, whose answer is None, piece by piece as it comes."""
        segments = self.card.prompt.segments(system, turns)
        request = {"segments": segments, "stop": list(stop), **msgspec.to_builtins(sampling)}
        child_input = cast("IO[bytes]", self._child.stdin)
        child_input.write(msgspec.json.encode(request) + b"\n")
        child_input.flush()
        while "end" not in (record := self._read()):
            if "error" in record:
                raise FrameworkError(record["error"])
            yield record["text"]

    def close(self) -> None:
        """End the child; what it may still be computing is dropped."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._messages):
            if stream:
                stream.close()

    def _read(self) -> dict[str, Any]:
        line = cast("IO[bytes]", self._child.stdout).readline()
        if not line:
            self._messages.seek(0)
            tail = "\n".join(f"  {text.rstrip()}" for text in self._messages.readlines()[-15:])
            raise FrameworkError(f"the model could not be loaded, or died; its last messages:\n{tail}")
        return cast("dict[str, Any]", msgspec.json.decode(line))
