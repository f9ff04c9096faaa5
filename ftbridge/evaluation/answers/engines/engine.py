"""What answers a dataset's questions: this process's model, vLLM, or a server."""

from collections.abc import Generator as Answers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from ftbridge.core.console import say
from ftbridge.core.errors import UsageError
from ftbridge.core.project import Project
from ftbridge.dialogue.generation import ADAPTER, BatchAnswer, EngineName, Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.evaluation.answers.engines.vllm import VllmGenerator, vllm_python, why_not
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import any_backend
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.weights.card import ModelCard, Prompt


class Engine(Protocol):
    """What answers many prompts; use it in a `with` block, which begins with loading a model or finding a server.

    `name`, `version`, and `address` and `model` of a server, are what an evaluation records of it, known within the
    block.
    """

    name: EngineName
    address: str
    version: str
    model: str

    def __enter__(self) -> Self:
        """Wait until it can be asked."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is still being answered."""

    def prompt_for(self, system: str, turns: Sequence[tuple[str, str | None]], card: ModelCard | None = None) -> Prompt:
        """Return what asks for the answer to the last turn, which is None, as `batch` takes it."""

    def batch(
        self,
        prompts: Sequence[Prompt],
        stop: Sequence[str],
        sampling: Sampling,
        batch_size: int | None = None,
        *,
        adapter: str | None = ADAPTER,
        card: ModelCard | None = None,
    ) -> Answers[BatchAnswer, None, None]:
        """Yield the greedy answer to each prompt as it comes, of the adapter of this name, or None: of the base.

        `card` is that of the adapter's training, where it is another than the engine's.
        """


def choose_engine(
    project: Project, adapters: Iterable[Path], loading: Loading, name: EngineName | Literal["auto"]
) -> EngineName:
    """Return what answers: vLLM where ftbridge.yaml names a Python for it, else transformers; `name` chooses one.

    A note says where vLLM would not take what is asked. Raises UsageError for vLLM without its Python.
    """
    python = None if name == "transformers" else vllm_python(project)
    if name == "vllm" and not python:
        raise UsageError(
            _(
                "ftbridge.yaml names no Python that has vLLM: add `backends: {vllm: {python: PATH}}`, "
                "of an environment of its own"
            )
        )
    if python and name == "auto" and (reason := why_not(adapters, loading)):
        say(_("note: transformers answers instead of vLLM: {reason}").format(reason=reason))
        python = None
    return "vllm" if python else "transformers"


def open_engine(
    name: EngineName,
    project: Project,
    card: ModelCard,
    model: Path,
    adapters: Mapping[str, Path],
    gpus: Sequence[Gpu],
    loading: Loading,
) -> Generator:
    """Start to load `model`, with `adapters` on it by name, in the training environment, or in vLLM's.

    Raises SetupError where the environment is not there, InputError where it cannot load this.
    """
    if name == "vllm" and (python := vllm_python(project)):
        return VllmGenerator(python, card, model, adapters, gpus, loading)
    backend, trust = any_backend(project, card.backend), loading.trust_remote_code
    return Generator(
        interpreter_for(project, backend, model, trust_remote_code=trust), card, model, adapters, gpus, loading
    )
