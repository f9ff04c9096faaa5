"""Everything about a training that is known before it starts, for the backends to render."""

import math
import re
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.registered.dataset import Dataset, DatasetPart, title_of
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.core.plugins import load_backend
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import NEWEST, Environment
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.runs.fingerprint import Fingerprint
from ftbridge.templates.families import Cell, Family
from ftbridge.templates.render import deepspeed_config
from ftbridge.tokens.chat_template import ChatTemplate
from ftbridge.tokens.ready import ReadyTokens, together

MOST_CHECKPOINTS = 20  # that are saved in a run with `--save-steps auto`
# Sections of a DeepSpeed config that write or send elsewhere, or end the training, and what to do instead.
_TRACK_INSTEAD = _("let `--track` follow the run, which writes into its folder and sends nothing unless it has a key")
_REFUSED_SECTIONS = {
    **dict.fromkeys(("tensorboard", "wandb", "csv_monitor", "comet"), _TRACK_INSTEAD),
    "autotuning": _("use DeepSpeed's own launcher for it"),
    "nebula": _("leave checkpoints to the framework"),
}


class TrainPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A training, decided: folders are absolute, `dataset` is the entry's own name, `run` may not exist yet.

    `validation` is the dataset that is validated on, if any; `resume` is the checkpoint that the training goes on from;
    `deepspeed` is the content of the DeepSpeed config with its dtype decided, or None without DeepSpeed;
    `environment` is the training environment that it runs in. `parts`, `sha256` and `edited` are the dataset's, as
    Dataset has them, and `base` is the fingerprint of the model. Where tokens are made once, `tokens` are those of the
    dataset, by the `chat_template`, and `validation_tokens` those of what is validated on; else there is a `family`,
    whose template the framework has.
    """

    spec: TrainSpec
    run: Path
    model: Path
    dataset: str
    dataset_dir: Path
    entry: DatasetEntry
    family: Family | None
    machine: Devices
    deepspeed: dict[str, Any] | None
    parts: tuple[DatasetPart, ...] = ()
    validation: Dataset | None = None
    resume: Path | None = None
    environment: Environment = NEWEST
    sha256: dict[str, str] = {}
    edited: str = ""
    base: Fingerprint | None = None
    chat_template: ChatTemplate | None = None
    tokens: ReadyTokens | None = None
    validation_tokens: ReadyTokens | None = None

    @property
    def title(self) -> str:
        """Return what the dataset is called in messages: of several, all of their names."""
        return title_of(self.dataset, self.parts)

    @property
    def distributed(self) -> bool:
        """Tell whether torch's launcher starts the processes; DeepSpeed needs it for a single one, too."""
        return self.machine.processes > 1 or self.deepspeed is not None

    @property
    def cell(self) -> Cell | None:
        """Return what the backend needs of the family's template; None where tokens are made once."""
        return self.family.cell(self.spec.backend) if self.family else None

    @property
    def tokens_folder(self) -> Path | None:
        """Return the folder with the ready tokens, of the validation part beside them where there is one."""
        return together(self.tokens, self.validation_tokens) if self.tokens else None

    @property
    def zero_stage(self) -> int:
        """Return DeepSpeed's ZeRO stage, 0 without."""
        return zero_stage(self.deepspeed)

    @property
    def estimated(self) -> bool:
        """Tell whether `steps` is a guess: how many samples packing makes is only known once they are tokenised."""
        return self.tokens is None and self.spec.packing and self.spec.max_steps is None

    @property
    def samples(self) -> int:
        """Return how many samples an epoch has; where they are packed, a guess of four bytes of the file a token."""
        if self.tokens:
            return self.tokens.counts.rows
        files = [self.dataset_dir / name for name in self.entry.files.values()]
        sizes = [file.stat().st_size for file in files if file.is_file()]
        if not self.estimated or not sizes:
            return self.entry.samples
        return max(1, min(self.entry.samples, math.ceil(max(sizes) / 4 / self.spec.cutoff_length)))

    @property
    def epoch_iterations(self) -> int:
        """Return how many micro batches a process sees in an epoch."""
        return math.ceil(math.ceil(self.samples / self.machine.processes) / self.spec.micro_batch_size)

    @property
    def iterations(self) -> int:
        """Return how many micro batches a process sees in all."""
        if self.spec.max_steps is not None:
            return self.spec.max_steps * self.spec.gradient_accumulation_steps
        return math.ceil(self.epoch_iterations * self.spec.epochs)

    @property
    def steps(self) -> int:
        """Return the number of optimiser steps, as the backend makes them."""
        if self.spec.max_steps is not None:
            return self.spec.max_steps
        return load_backend(self.spec.backend).steps(self)

    @property
    def warmup_steps(self) -> int:
        """Return the optimiser steps spent warming up: one at least, or XTuner refuses to start."""
        return max(1, round(self.spec.warmup_ratio * self.steps))

    @property
    def save_steps(self) -> int:
        """Return the optimiser steps between two checkpoints."""
        if self.spec.save_steps != "auto":
            return self.spec.save_steps
        epoch = math.ceil(self.epoch_iterations / self.spec.gradient_accumulation_steps)
        return max(math.ceil(self.steps / MOST_CHECKPOINTS), min(epoch, math.ceil(self.steps / 5)))

    @property
    def kept_checkpoints(self) -> int:
        """Return how many checkpoints lie on the disk at most: a new one is written before the oldest goes."""
        saved = max(1, math.ceil(self.steps / self.save_steps))
        return min(saved, self.spec.save_limit + 1)

    @property
    def validation_steps(self) -> int:
        """Return the optimiser steps between two validations."""
        return self.spec.validation_steps or self.save_steps

    @property
    def map_processes(self) -> int:
        """Return how many processes tokenise: one for small data, where starting more costs more."""
        return max(1, min(8, self.entry.samples // 5000))


def zero_stage(config: Any) -> int:
    """Return the ZeRO stage of a DeepSpeed config's content, 0 where it names none."""
    zero = config.get("zero_optimization") if isinstance(config, dict) else None
    stage = zero.get("stage", 0) if isinstance(zero, dict) else 0
    return stage if isinstance(stage, int) else 0


def offloads(config: dict[str, Any] | None, key: str) -> bool:
    """Tell whether DeepSpeed keeps optimiser states ("offload_optimizer") or weights ("offload_param") off the GPU."""
    section = (config or {}).get("zero_optimization", {}).get(key)
    return bool(section) and section.get("device", "none") != "none"


def paths_outside_run(config: dict[str, Any] | None) -> dict[str, str]:
    """Return the paths in a DeepSpeed config that lie outside the run's folder, by their keys, joined with dots.

    DeepSpeed takes what is relative as from that folder, where it runs.
    """
    paths: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = [("", config)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{key}.{name}".lstrip("."), item) for name, item in value.items()]
        elif isinstance(value, list):
            waiting += [(key, item) for item in value]
        elif isinstance(value, str) and (value.startswith(("/", "~", "\\")) or ".." in re.split(r"[/\\]", value)):
            paths[key] = value
    return dict(sorted(paths.items()))


def _check_deepspeed(name: str, config: dict[str, Any]) -> None:
    """Raise InputError for a config that DeepSpeed would end with, that is misread here, or does more than train."""
    for key, remedy in _REFUSED_SECTIONS.items():
        section = config.get(key)
        if isinstance(section, dict) and section.get("enabled", False) is not False:
            raise InputError(
                _("the DeepSpeed config `{name}` turns on `{key}`; take it out, and {remedy}").format(
                    name=name, key=key, remedy=remedy
                )
            )
    autocast = config.get("torch_autocast")
    modules = autocast.get("lower_precision_safe_modules") if isinstance(autocast, dict) else None
    if foreign := [module for module in modules or [] if not str(module).startswith("torch.")]:
        raise InputError(
            _(
                "the DeepSpeed config `{name}` would have the Python module of `{foreign}` imported, by "
                "`lower_precision_safe_modules`; only torch's own are allowed there"
            ).format(name=name, foreign=foreign[0])
        )
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise InputError(
            _('the DeepSpeed config `{name}` must give zero_optimization as `{{"stage": 2}}`').format(name=name)
        )
    stage = zero.get("stage", 0)
    if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
        raise InputError(
            _("the DeepSpeed config `{name}` has the ZeRO stage `{stage}`; it is 0, 1, 2 or 3").format(
                name=name, stage=stage
            )
        )
    for key in ("offload_optimizer", "offload_param"):
        if not isinstance(zero.get(key) or {}, dict):
            raise InputError(
                _('the DeepSpeed config `{name}` must give {key} as `{{"device": "cpu"}}`').format(name=name, key=key)
            )


def load_deepspeed(name: str, folder: Path, machine: Devices) -> dict[str, Any] | None:
    """Return the DeepSpeed config `name`: "none", a shipped one such as "zero2", or a JSON file.

    "auto" is ZeRO-2 for several processes and none for one.

    Raises InputError where the file cannot be read, UsageError for an unknown name.
    """
    if name == "auto":
        name = "zero2" if machine.processes > 1 else "none"
    if name == "none":
        return None
    if name.endswith(".json"):
        path = folder / Path(name).expanduser()
        config = load_json(
            read_text(path, _("DeepSpeed config")),
            dict[str, Any],
            _("`{path}` is not a DeepSpeed config").format(path=path),
        )
    else:
        config = deepspeed_config(name)
    _check_deepspeed(name, config)
    # Both frameworks would ask torch; what the machine can is known already, unless the file decides.
    sections = {dtype: config.setdefault(key, {}) for dtype, key in (("bfloat16", "bf16"), ("float16", "fp16"))}
    if not all(isinstance(section, dict) for section in sections.values()):
        raise InputError(
            _('the DeepSpeed config `{name}` must give bf16 and fp16 as `{{"enabled": true}}`').format(name=name)
        )
    decided = any(section.get("enabled") is True for section in sections.values())
    for dtype, section in sections.items():
        if section.get("enabled", "auto") == "auto":
            section["enabled"] = not decided and machine.dtype == dtype
    return config
