"""Checks of the memory that a training takes, on the GPUs and in main memory, and options that take less."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.language import gettext as _
from ftbridge.language import joined, to_translate
from ftbridge.launchers.backends.plan import TrainPlan, load_deepspeed, offloads
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.hardware.host import GIB, available_memory
from ftbridge.launchers.preflight.memory_estimate import Memory, estimate_memory

MIB = 1024**2
# Shares of the free memory: the estimate is not so exact that a little more must fail, or a little less must fit.
FAILURE_SHARE, WARNING_SHARE = 1.1, 0.9
# DeepSpeed's estimators allow for as much under offload: pinned memory is handed out in powers of two.
OFFLOAD_FACTOR = 1.5
MOST_OPTIONS = 3  # in one remedy


class _Need(msgspec.Struct, frozen=True):
    """Bytes that a process needs of one kind of memory, at least and at most, and those that are free, where known."""

    name: str
    least: int
    most: float
    free: int | None
    found: str

    @property
    def status(self) -> Literal["ok", "warning", "failure"]:
        if self.free is None or self.most <= WARNING_SHARE * self.free:
            return "ok"
        return "failure" if self.least > FAILURE_SHARE * self.free else "warning"


def memory_checks(plan: TrainPlan, tensors: dict[str, Shape], config: dict[str, Any]) -> list[Check]:
    """Return a check of the memory of the device, and one of main memory where a training on GPUs needs it, too."""
    checks = []
    for need in _needs(plan, estimate_memory(plan, tensors, config)):
        remedy = "" if need.status == "ok" else _remedy(plan, need, tensors, config)
        checks.append(Check(need.name, need.status, need.found, remedy))
    return checks


def _needs(plan: TrainPlan, memory: Memory) -> list[_Need]:
    free = available_memory() // plan.machine.processes or None
    room = _("how much main memory is free is not known")
    if free:
        room = _("{free:.2f} GiB of main memory are free for each process").format(free=free / GIB)
    if plan.machine.device == "cpu":
        return [_Need("memory", memory.total, memory.total, free, joined("; ", (memory, room)))]
    needs = [_gpu_need(plan, memory)]
    if memory.host:
        text = _("about {host:.2f} GiB a process, while the model is loaded; {room}").format(
            host=memory.host / GIB, room=room
        )
        most: float = memory.host
        if offloads(plan.deepspeed, "offload_optimizer") or offloads(plan.deepspeed, "offload_param"):
            most *= OFFLOAD_FACTOR
            text = _("about {host:.2f} GiB a process, for offload up to {most:.2f} GiB; {room}").format(
                host=memory.host / GIB, most=most / GIB, room=room
            )
        needs.append(_Need(to_translate("main memory"), memory.host, most, free, text))
    return needs


def _gpu_need(plan: TrainPlan, memory: Memory) -> _Need:
    known = [gpu.free * MIB for gpu in plan.machine.gpus if gpu.free is not None]
    free = min(known, default=None)
    room = (
        _("the free memory of the GPU is unknown")
        if free is None
        else _("{free:.2f} GiB are free on the GPU").format(free=free / GIB)
    )
    # A paged optimiser may leave the GPU, so it alone is no reason to fail.
    least = memory.total - (memory.optimizer if plan.spec.optimizer.startswith("paged") else 0)
    return _Need("memory", least, memory.total, free, joined("; ", (memory, room)))


def _remedy(plan: TrainPlan, need: _Need, tensors: dict[str, Shape], config: dict[str, Any]) -> str:
    """Return what would help: options of which each is enough, else some that are enough together."""
    remedies = []
    sizes = [gpu.memory * MIB for gpu in plan.machine.gpus if gpu.memory is not None]
    if need.name == "memory" and need.most <= WARNING_SHARE * min(sizes, default=0):
        remedies.append(_("stop other programs on the GPU (nvidia-smi shows them)"))
    changed = _changed_plans(plan, need, tensors, config, set())
    if enough := [each.option for each in changed if each.enough]:
        remedies.append(_("use {enough}").format(enough=joined(_(" or "), enough[:MOST_OPTIONS])))
    elif together := _options_enough_together(plan, need, tensors, config):
        remedies.append(_("use {together}").format(together=joined(_(" with "), together)))
    other = _("take a machine with more memory") + ("" if plan.resume else _(", or a smaller model"))
    return _(", or ").join(remedies) or other


class _ChangedPlan(msgspec.Struct, frozen=True):
    """A plan with one option changed, the bytes that it needs, and whether they are free."""

    name: str
    option: str
    plan: TrainPlan
    most: float
    enough: bool


def _changed_plans(
    plan: TrainPlan, need: _Need, tensors: dict[str, Shape], config: dict[str, Any], without: set[str]
) -> Iterator[_ChangedPlan]:
    """Yield the plan with each option changed that may lower its memory, but those `without`."""
    if plan.resume:  # a resumed run keeps its options
        return
    for name, value in _memory_options(plan, config):
        if name in without:
            continue
        option = (
            _("--{text}").format(text=name.replace("_", "-"))
            if value is True
            else f"--{name.replace('_', '-')} {value}"
        )
        changed = msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, **{name: value}))
        if name == "deepspeed":
            content = load_deepspeed(value, plan.run, plan.machine)
            changed = msgspec.structs.replace(changed, deepspeed=content)
        needs = _needs(changed, estimate_memory(changed, tensors, config))
        most = sum(each.most for each in needs if each.name == need.name)
        yield _ChangedPlan(name, f"`{option}`", changed, most, all(each.status == "ok" for each in needs))


def _options_enough_together(
    plan: TrainPlan, need: _Need, tensors: dict[str, Shape], config: dict[str, Any]
) -> list[str]:
    """Return a few options that are enough together, two if possible; [] where none are found."""
    for first in _changed_plans(plan, need, tensors, config, set()):
        for second in _changed_plans(first.plan, need, tensors, config, {first.name}):
            if second.enough:
                return [first.option, second.option]
    names: set[str] = set()
    options = []
    for _unused in range(MOST_OPTIONS):
        best = min(_changed_plans(plan, need, tensors, config, names), key=lambda each: each.most, default=None)
        if best is None:
            break
        plan = best.plan
        names.add(best.name)
        options.append(best.option)
        if best.enough:
            return options
    return []


def _memory_options(plan: TrainPlan, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield options that go with this plan and may lower its memory, what changes the training least first."""
    spec = plan.spec
    # ZeRO-3 can share out what is quantised by bitsandbytes alone, and each GPU has the whole of it before.
    quantised = spec.method == "qlora" or bool(config.get("quantization_config"))
    if not spec.gradient_checkpointing:
        yield "gradient_checkpointing", True
    if spec.micro_batch_size > 1:
        yield "micro_batch_size", 1
    if plan.machine.device == "cuda":
        yield from _gpu_memory_options(plan, quantised=quantised)
    if spec.method == "qlora" and spec.quantization_bits == 8:  # noqa: PLR2004
        yield "quantization_bits", 4
    if not quantised and not spec.dora:
        yield "method", "qlora"
    if spec.method != "full" and spec.lora_rank > 8:  # noqa: PLR2004
        yield "lora_rank", 8
    if spec.cutoff_length > 1:
        yield "cutoff_length", spec.cutoff_length // 2


def _gpu_memory_options(plan: TrainPlan, *, quantised: bool) -> Iterator[tuple[str, str]]:
    optimizer = plan.spec.optimizer
    if plan.zero_stage < 2 or quantised:  # noqa: PLR2004
        yield "deepspeed", "zero2"
    if plan.machine.processes > 1 and not quantised:
        yield "deepspeed", "zero3"
    if offloads(plan.deepspeed, "offload_optimizer"):
        return
    if not optimizer.startswith("paged"):
        yield "optimizer", "paged_adamw_8bit"
    if optimizer == "adamw" and plan.spec.method == "full":
        yield "deepspeed", "zero2-offload"
    if optimizer == "adamw" and not quantised:
        yield "deepspeed", "zero3-offload"
