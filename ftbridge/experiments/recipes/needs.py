"""What a training needs, told before anything is downloaded: memory, disk, and about how long on which card.

All of it is arithmetic from the shapes of the model. A training takes, for each weight and token, 2 operations forward,
2 back, 2 more for the gradients of weights (`full`), and 2 to compute again what gradient checkpointing has dropped. A
card does a share of its peak, and no layer is faster than Python can start what it is made of.
"""

import math
import re
from collections.abc import Mapping
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ftbridge.core.parsing.json_yaml import parse
from ftbridge.core.plugins import plugin_names
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.experiments.recipes.base_sizes import BaseSizes, base_sizes, known_facts
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends.plan import TrainPlan, load_deepspeed
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.hardware.host import GIB
from ftbridge.launchers.hardware.nvidia import Gpu, gpus
from ftbridge.launchers.preflight.memory import MIB, WARNING_SHARE
from ftbridge.launchers.preflight.memory_estimate import checkpoint_size, estimate_memory, text_config

SAMPLES = 1000  # that are counted where it is not known how many there are
# Shares of a card's peak that trainings reach: weights of 4 and 8 bits are unpacked before each product.
_SHARES = {16: 0.3, 4: 0.2, 8: 0.1}
# Seconds of a layer, forward and back, that no card is faster than: its kernels are started from Python one by one.
_LAYER_SECONDS = {"full": 0.002, "lora": 0.004, "qlora": 0.004}
_GUESSED_SHARE = 4  # of the cutoff length is the length of a sample, where it is not known
# So many cards are named at most: the smallest, and each that takes but this share of the time of those before.
_SHOWN, _FASTER = 3, 0.75


class Card(msgspec.Struct, frozen=True):
    """A kind of GPU: its memory in GiB, and its peak in TFLOPS."""

    name: str
    memory: float
    peak: float


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a training, or all points of a sweep, needs; None where nothing is known of the model.

    `memory` are bytes on each of `gpus` cards, in main memory where that is 0; `disk` are bytes, too. `seconds` tells
    how long it takes on cards that it fits on: that of this machine first, which is then `here`, then the smallest. It
    is of so many `samples`, SAMPLES where that is not known, of so many `tokens` each, or the cutoff length's guess.
    `too_small` is this machine's card where it has too little memory.
    """

    gpus: int
    memory: int | None = None
    disk: int | None = None
    seconds: dict[str, float] = {}
    here: str = ""
    too_small: str = ""
    samples: int = SAMPLES
    samples_known: bool = False
    tokens: int
    tokens_known: bool = False

    @property
    def sentence(self) -> str:
        """Return all of it as a line."""
        if self.memory is None or self.disk is None:
            return _("memory and disk cannot be estimated before the model is downloaded")
        where = _("GPU memory") if self.gpus else _("main memory")
        each = _(" on each of {gpus} GPUs").format(gpus=self.gpus) if self.gpus > 1 else ""
        found = _("needs about {gib} of {where}{each}, {disk_gib} of disk").format(
            gib=_gib(self.memory), where=where, each=each, disk_gib=_gib(self.disk)
        )
        if self.too_small:
            found += _("; this machine's {too_small} has less").format(too_small=self.too_small)
        if self.seconds:
            times = joined(
                ", ",
                (
                    _("{duration} on {named}").format(duration=_duration(each), named=self._named(card))
                    for card, each in self.seconds.items()
                ),
            )
            per = "" if self.samples_known else _(" for every {samples:,} samples").format(samples=self.samples)
            guess = "" if self.tokens_known else _("; assuming {tokens} tokens a sample").format(tokens=self.tokens)
            found += _(
                "; about {times}{per} (arithmetic, not measured: half or twice as long is possible{guess})"
            ).format(times=times, per=per, guess=guess)
        elif self.gpus:
            found += _("; no card known here has as much")
        return found

    def _named(self, card: str) -> str:
        if self.gpus > 1:
            return _("{gpus} x {card}").format(gpus=self.gpus, card=card)
        if card == self.here:
            return _("this machine's {card}").format(card=card)
        return (_("an {card}") if card[0] in "AHLR" else _("a {card}")).format(card=card)


def needs(
    options: Mapping[str, Any],
    folder: Path,
    *,
    samples: int | None = None,
    tokens: float | None = None,
    merge: bool = False,
    points: int = 1,
) -> Needs:
    """Return what a training with these `options` (fields of TrainSpec, `model` among them) needs.

    Folders are relative to `folder`. `samples` are those of the training part, `tokens` those of a sample on the mean;
    with `merge` its merged model is counted, too. Of a sweep with so many `points` all are counted, and `samples` are
    those of a point on the mean. Where no backend is chosen, it is the one that takes the most memory. Raises
    InputError for an option that is not valid.
    """
    backends = [options["backend"]] if "backend" in options else plugin_names("backends")
    spec = parse(TrainSpec, {"dataset": "data", **options, "backend": backends[0]}, _("the training"))
    own = [] if spec.device == "cpu" else gpus()
    count = 0 if spec.device == "cpu" else max(1, len(own)) if spec.gpus == "all" else spec.gpus
    base = base_sizes(spec.model, folder)
    found = Needs(
        gpus=count,
        samples=samples or SAMPLES,
        samples_known=samples is not None or spec.max_steps is not None,
        tokens=max(1, min(spec.cutoff_length, round(tokens or spec.cutoff_length / _GUESSED_SHARE))),
        tokens_known=tokens is not None,
    )
    if not base:
        return found
    rows = math.ceil(found.samples * found.tokens / spec.cutoff_length) if spec.packing else found.samples
    plans = [_plan(replace(spec, backend=each), count, rows, folder) for each in backends]
    memory, plan = max(((_memory(each, base), each) for each in plans), key=itemgetter(0))
    disk = _disk(plan, base, merge=merge, points=points, known=found.samples_known)
    found = replace(found, memory=memory, disk=disk)
    return _with_seconds(found, plan, base, points, own) if count else found


def _plan(spec: TrainSpec, count: int, rows: int, folder: Path) -> TrainPlan:
    """Return a training on `count` GPUs, 0 for the CPU, whose epoch has so many rows."""
    dtype = spec.dtype if spec.dtype != "auto" else "bfloat16" if count else "float32"
    machine = Devices("cuda" if count else "cpu", max(1, count), dtype)
    return TrainPlan(
        spec=spec,
        run=folder,
        model=folder,
        dataset=spec.dataset_text,
        dataset_dir=folder,
        entry=DatasetEntry(version="1", files={}, samples=rows, sources={}, columns={}),
        family=None,
        machine=machine,
        deepspeed=load_deepspeed(spec.deepspeed, folder, machine),
    )


def _memory(plan: TrainPlan, base: BaseSizes) -> int:
    return estimate_memory(plan, base.shapes, base.config).total


def _disk(plan: TrainPlan, base: BaseSizes, *, merge: bool, points: int, known: bool) -> int:
    """Return the bytes of the base that is still to come, of checkpoints, and of merged models."""
    spec = plan.spec
    model = _parameters(base) * (4 if text_config(base.config).get("torch_dtype") == "float32" else 2)
    saved = max(1, math.ceil(plan.steps / plan.save_steps)) if known else spec.save_limit + 1
    kept = points * min(saved, spec.save_limit) + (saved > spec.save_limit)  # one is written before the oldest goes
    return (not base.is_here) * model + kept * checkpoint_size(plan, base.shapes) + points * merge * model


def _with_seconds(found: Needs, plan: TrainPlan, base: BaseSizes, points: int, own: list[Gpu]) -> Needs:
    """Return the needs with how long they take on cards with room, and whether this machine's have it."""
    memory = found.memory or 0
    fitting = [card for card in cards() if memory <= WARNING_SHARE * card.memory * GIB]
    here, too_small = "", ""
    if own and own[0].memory:
        known = next((card for card in cards() if re.search(rf"\b{card.name}\b", own[0].name)), None)
        if memory > WARNING_SHARE * own[0].memory * MIB:
            too_small = own[0].name
        elif known:
            here, fitting = known.name, [known, *fitting]
    seconds: dict[str, float] = {}
    for card in fitting:
        takes = points * _seconds(plan, base, found.tokens, card)
        if len(seconds) < _SHOWN and takes <= _FASTER * min(seconds.values(), default=math.inf):
            seconds[card.name] = takes
    return replace(found, seconds=seconds, here=here, too_small=too_small)


def _seconds(plan: TrainPlan, base: BaseSizes, tokens: int, card: Card) -> float:
    """Return the seconds of a training whose samples have so many tokens."""
    spec = plan.spec
    length = spec.micro_batch_size * (spec.cutoff_length if spec.packing else tokens)
    operations = 4 + 2 * (spec.method == "full") + 2 * spec.gradient_checkpointing
    share = _SHARES[spec.quantization_bits if spec.method == "qlora" else 16]
    batch = operations * _parameters(base) * length / (share * card.peak * 1e12)
    layers = text_config(base.config).get("num_hidden_layers") or 0
    return plan.iterations * max(batch, layers * _LAYER_SECONDS[spec.method])


def _parameters(base: BaseSizes) -> int:
    return sum(map(math.prod, base.shapes.values()))


@cache
def cards() -> tuple[Card, ...]:
    """Return the kinds of GPUs that are known, the smallest first."""
    return msgspec.convert(tuple(known_facts()["cards"]), tuple[Card, ...])


def _gib(size: int) -> str:
    return _("{size} GiB").format(size=_rounded(size / GIB))


def _duration(seconds: float) -> str:
    for text, length in ((_("{n} days"), 86400), (_("{n} h"), 3600)):
        if seconds >= 2 * length:
            return text.format(n=_rounded(seconds / length))
    return _("{max} min").format(max=_rounded(max(1, round(seconds / 60))))


def _rounded(value: float) -> str:
    """Return a number with two digits, more than which none of these has."""
    return f"{float(f'{value:.2g}'):g}"
