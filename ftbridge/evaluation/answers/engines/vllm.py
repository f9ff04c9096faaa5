"""Answers by vLLM, in an environment of its own that ftbridge.yaml names."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftbridge.core.errors import FtbridgeError, InputError, SetupError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.process.json_lines import ChildEndedError
from ftbridge.core.project import Project
from ftbridge.dialogue.generation import EngineName, Generator
from ftbridge.dialogue.placement import Loading
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import configured_interpreter
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.weights.card import ModelCard

NAME = "vllm"  # under `backends` of ftbridge.yaml
# What vLLM's max_lora_rank may be (vllm/config/lora.py).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# What vLLM takes of a GPU, of what is free there; it wants no more than its own default of the whole.
SHARE_OF_FREE, MOST_OF_GPU = 0.95, 0.9
# In words of vLLM's: an environment without it, a GPU that others use, one too small, or a model that it does not know.
_TROUBLES = {
    "No module named 'vllm'": _(
        "vLLM is not installed there: name another Python under `backends`, `vllm` in "
        "ftbridge.yaml, or install it there"
    ),
    "is less than desired": _("other programs use the GPU's memory: end them"),
    "No available memory for the cache blocks": _("the model leaves no room on the GPU for the questions"),
    "out of memory": _("the model does not fit into the GPU"),
    "are not supported for now": _("vLLM does not know this kind of model"),
}
_OTHERWISE = _("without that entry in ftbridge.yaml, the training environment answers")


class VllmGenerator(Generator):
    """A model loaded by vLLM, which answers batches alone. Use it in a `with` block.

    Raises InputError for an adapter that vLLM would not take, or weights that are to be quantised; else as Generator.
    """

    name: EngineName = "vllm"
    program = "vllm_generate"

    def __init__(
        self,
        python: Path,
        card: ModelCard,
        model: Path,
        adapter: Path | Mapping[str, Path] | None,
        gpus: Sequence[Gpu],
        loading: Loading | None = None,
    ) -> None:
        """Start to load `model`, with `adapter` on it, or several by name; `gpus` are those that it may use."""
        adapters = [adapter] if isinstance(adapter, Path) else [*(adapter or {}).values()]
        if refusal := why_not(adapters, loading or Loading()):
            raise InputError(
                _("vLLM cannot answer: {refusal}; {otherwise}").format(refusal=refusal, otherwise=_OTHERWISE)
            )
        super().__init__(python, card, model, adapter, gpus, loading)

    def _spec(self, loading: Loading) -> dict[str, Any]:
        gpus = self.placement.gpus
        return super()._spec(loading) | {
            "max_lora_rank": max_lora_rank(self.adapters.values()),
            "memory_share": memory_share(gpus),
            "gpus": max(1, len(gpus)),
        }

    def _explain_end(self, trouble: str, ended: ChildEndedError) -> FtbridgeError:
        said = next((advice for words, advice in _TROUBLES.items() if words in ended.messages), "")
        if said:
            return SetupError(
                _("{trouble} by vLLM: {said}; {otherwise}\n{messages}").format(
                    trouble=trouble, said=said, otherwise=_OTHERWISE, messages=ended.messages
                )
            )
        return super()._explain_end(_("{trouble} by vLLM").format(trouble=trouble), ended)


def vllm_python(project: Project) -> Path | None:
    """Return the Python that ftbridge.yaml names for vLLM, None where it names none.

    Raises SetupError where it is not there.
    """
    return configured_interpreter(project, NAME)


def why_not(adapters: Iterable[Path], loading: Loading) -> str:
    """Return in a sentence why vLLM does not answer as transformers does with these adapters, "" where it does."""
    if loading.bits:
        return _("vLLM cannot load weights in {bits} bits as the training did; leave out `--bits`").format(
            bits=loading.bits
        )
    if loading.offload_folder:
        return _("vLLM cannot keep weights on disk; leave out `--offload-folder`")
    return next(
        (
            _("the adapter `{folder}` {reason}").format(folder=folder, reason=reason)
            for folder in adapters
            if (reason := _refused(folder))
        ),
        "",
    )


def _refused(adapter: Path) -> str:
    """Return what vLLM does not take of an adapter, "" for nothing (vllm/lora/peft_helper.py)."""
    config = read_json(adapter / "adapter_config.json")
    rank = _rank(config)
    reasons = {
        _("is {text}, and vLLM takes only LoRA").format(text=config.get("peft_type")): config.get("peft_type", "LORA")
        != "LORA",
        _("was trained with DoRA, which vLLM does not compute; merge it"): config.get("use_dora"),
        _("holds whole layers (`modules_to_save`), which vLLM does not load; merge it"): config.get("modules_to_save"),
        _("has a bias, which vLLM does not load; merge it"): config.get("bias", "none") != "none"
        or config.get("lora_bias"),
        _("has rank {rank}, and vLLM takes at most {ranks}; merge it").format(rank=rank, ranks=RANKS[-1]): rank
        > RANKS[-1],
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def _rank(config: Mapping[str, Any]) -> int:
    """Return the highest rank that an adapter has on any layer."""
    return max([int(config.get("r", 0)), *map(int, (config.get("rank_pattern") or {}).values())])


def max_lora_rank(adapters: Iterable[Path]) -> int:
    """Return the least rank of those that vLLM can be told which all adapters stay within."""
    highest = max((_rank(read_json(folder / "adapter_config.json")) for folder in adapters), default=1)
    return next(rank for rank in RANKS if rank >= highest)


def memory_share(gpus: Sequence[Gpu]) -> float | None:
    """Return the share of each GPU's memory that vLLM may take, None where it is not known what is free there."""
    shares = [gpu.free / gpu.memory * SHARE_OF_FREE for gpu in gpus if gpu.free is not None and gpu.memory]
    return round(min([MOST_OF_GPU, *shares]), 3) if len(shares) == len(gpus) and gpus else None
