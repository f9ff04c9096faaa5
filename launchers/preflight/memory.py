"""Whether the memory that a training takes is free, on the GPUs and in main memory, and what would help where not."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.launchers.backends.plan import TrainPlan, load_deepspeed, offloads
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.hardware.host import GIB, main_memory
from ftbridge.launchers.preflight.memory_estimate import Memory, estimate

MIB = 1024**2
# Shares of what is free: the estimate is not so exact that a little more must fail, or a little less must fit.
REFUSED, WARNED = 1.1, 0.9
# DeepSpeed's estimators allow for as much under offload: pinned memory is handed out in powers of two.
OFFLOAD = 1.5
NAMED = 3  # ways out in one sentence


class _Need(msgspec.Struct, frozen=True):
    """Bytes that a process wants of one kind of memory, at least and at most, and what is free of it where known."""

    name: str
    least: int
    most: float
    free: int | None
    found: str

    @property
    def status(self) -> Literal["ok", "warning", "failure"]:
        if self.free is None or self.most <= WARNED * self.free:
            return "ok"
        return "failure" if self.least > REFUSED * self.free else "warning"


def memory_checks(plan: TrainPlan, tensors: dict[str, Shape], config: dict[str, Any]) -> list[Check]:
    """Return a check of the memory that is computed in, and one of main memory where a GPU's training wants it too."""
    checks = []
    for need in _needs(plan, estimate(plan, tensors, config)):
        remedy = "" if need.status == "ok" else _remedy(plan, need, tensors, config)
        checks.append(Check(need.name, need.status, need.found, remedy))
    return checks


def _needs(plan: TrainPlan, memory: Memory) -> list[_Need]:
    main = main_memory() // plan.machine.processes or None
    room = "how much main memory is free is not known"
    if main:
        room = f"{main / GIB:.2f} GiB of main memory are free for each process"
    if plan.machine.device == "cpu":
        return [_Need("memory", memory.total, memory.total, main, f"{memory}; {room}")]
    needs = [_on_gpu(plan, memory)]
    if memory.host:
        text = f"about {memory.host / GIB:.2f} GiB a process, while the model is loaded; {room}"
        most: float = memory.host
        if offloads(plan.deepspeed, "offload_optimizer") or offloads(plan.deepspeed, "offload_param"):
            most *= OFFLOAD
            text = f"about {memory.host / GIB:.2f} GiB a process, for offload up to {most / GIB:.2f} GiB; {room}"
        needs.append(_Need("main memory", memory.host, most, main, text))
    return needs


def _on_gpu(plan: TrainPlan, memory: Memory) -> _Need:
    told = [gpu.free * MIB for gpu in plan.machine.gpus if gpu.free is not None]
    free = min(told, default=None)
    room = "how much is free on the GPU is not told" if free is None else f"{free / GIB:.2f} GiB are free on the GPU"
    # A paged optimiser may leave the GPU, so it alone is no reason to fail.
    least = memory.total - (memory.optimizer if plan.spec.optimizer.startswith("paged") else 0)
    return _Need("memory", least, memory.total, free, f"{memory}; {room}")


def _remedy(plan: TrainPlan, need: _Need, tensors: dict[str, Shape], config: dict[str, Any]) -> str:
    """Return what would help: options that each are enough, else some that are together."""
    ways = []
    cards = [gpu.memory * MIB for gpu in plan.machine.gpus if gpu.memory is not None]
    if need.name == "memory" and need.most <= WARNED * min(cards, default=0):
        ways.append("end what else runs on the GPU (nvidia-smi shows it)")
    tried = _tried(plan, need, tensors, config, set())
    if enough := [each.option for each in tried if each.enough]:
        ways.append(f"use {' or '.join(enough[:NAMED])}")
    elif together := _together(plan, need, tensors, config):
        ways.append(f"use {' with '.join(together)}")
    other = "take a machine with more memory" + ("" if plan.resume else ", or a smaller model")
    return ", or ".join(ways) or other


class _Try(msgspec.Struct, frozen=True):
    """An option, the plan with it, the bytes that are wanted then, and whether all is well with it."""

    name: str
    option: str
    plan: TrainPlan
    most: float
    enough: bool


def _tried(
    plan: TrainPlan, need: _Need, tensors: dict[str, Shape], config: dict[str, Any], without: set[str]
) -> Iterator[_Try]:
    """Yield what becomes of the plan with each option but those `without`."""
    for name, value in () if plan.resume else _changes(plan, config):  # a resumed run keeps its options
        if name in without:
            continue
        option = f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')} {value}"
        changed = msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, **{name: value}))
        if name == "deepspeed":
            content = load_deepspeed(value, plan.run, plan.machine)
            changed = msgspec.structs.replace(changed, deepspeed=content)
        needs = _needs(changed, estimate(changed, tensors, config))
        most = sum(each.most for each in needs if each.name == need.name)
        yield _Try(name, f"`{option}`", changed, most, all(each.status == "ok" for each in needs))


def _together(plan: TrainPlan, need: _Need, tensors: dict[str, Shape], config: dict[str, Any]) -> list[str]:
    """Return a few options that are enough together, two if possible; [] where none are found."""
    for first in _tried(plan, need, tensors, config, set()):
        for second in _tried(first.plan, need, tensors, config, {first.name}):
            if second.enough:
                return [first.option, second.option]
    names: set[str] = set()
    options = []
    for _ in range(NAMED):
        best = min(_tried(plan, need, tensors, config, names), key=lambda each: each.most, default=None)
        if best is None:
            break
        plan = best.plan
        names.add(best.name)
        options.append(best.option)
        if best.enough:
            return options
    return []


def _changes(plan: TrainPlan, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield options that go with this plan and may lower its memory, what changes the training least first."""
    spec = plan.spec
    # ZeRO-3 can share out what is quantised by bitsandbytes alone, and each GPU has the whole of it before.
    quantised = spec.method == "qlora" or bool(config.get("quantization_config"))
    if not spec.gradient_checkpointing:
        yield "gradient_checkpointing", True
    if spec.micro_batch_size > 1:
        yield "micro_batch_size", 1
    if plan.machine.device == "cuda":
        yield from _on_gpus(plan, quantised=quantised)
    if spec.method == "qlora" and spec.quantization_bits == 8:  # noqa: PLR2004
        yield "quantization_bits", 4
    if not quantised and not spec.dora:
        yield "method", "qlora"
    if spec.method != "full" and spec.lora_rank > 8:  # noqa: PLR2004
        yield "lora_rank", 8
    if spec.cutoff_length > 1:
        yield "cutoff_length", spec.cutoff_length // 2


def _on_gpus(plan: TrainPlan, *, quantised: bool) -> Iterator[tuple[str, str]]:
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
