"""Whether memory is free: what is refused, what is warned of, and that each way out that is named really helps."""

import re
from pathlib import Path

import msgspec
import pytest

from ftbridge.launchers.backends.plan import load_deepspeed
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.hardware.host import GIB
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.preflight import memory as module
from ftbridge.launchers.preflight.combinations import combination_checks
from ftbridge.launchers.preflight.memory import MIB, memory_checks
from ftbridge.launchers.preflight.memory_estimate import Memory

from ...builders.plans import plan  # noqa: TID252
from .memory_tables import config, documents, shapes

FIXED = Memory(weights=50 * GIB, adapters=0, gradients=0, optimizer=30 * GIB, activations=20 * GIB, host=10 * GIB)
CPU = Devices("cpu", 2, "float32")


def on(*free, total=None):
    gpus = tuple(Gpu("A100", total, 8.0, "570.86", free=each and round(each * GIB / MIB)) for each in free)
    return Devices("cuda", len(free), "bfloat16", gpus)


def made(machine, deepspeed="none", **spec):
    return plan(machine=machine, deepspeed=load_deepspeed(deepspeed, Path("/"), machine), **spec)


def judged(planned, size="7B", **values):
    """Return the checks by name for a Qwen2.5."""
    return {check.name: check for check in memory_checks(planned, shapes(size), config(size) | values)}


def follow(planned, option):
    """Return the plan with an option such as `--lora-rank 8`."""
    name, _, value = option.strip("`").removeprefix("--").partition(" ")
    values = {name.replace("-", "_"): int(value) if value.isdecimal() else value or True}
    deepspeed = load_deepspeed(value, Path("/"), planned.machine) if name == "deepspeed" else planned.deepspeed
    return msgspec.structs.replace(planned, deepspeed=deepspeed, spec=msgspec.structs.replace(planned.spec, **values))


@pytest.fixture
def free(monkeypatch):
    """Return a function that sets the free main memory, in GiB."""

    def set_to(size):
        monkeypatch.setattr(module, "available_memory", lambda: round(size * GIB))

    set_to(10_000)
    return set_to


@pytest.fixture
def fixed(monkeypatch):
    """Let each training take 100 GiB on the GPU, and 10 GiB of main memory in each process."""
    monkeypatch.setattr(module, "estimate_memory", lambda *_: FIXED)


SHARES = [(1 / 1.11, "failure"), (1 / 1.09, "warning"), (1 / 0.91, "warning"), (1 / 0.89, "ok")]


@pytest.mark.parametrize(("share", "status"), SHARES)
def test_a_gpu_is_refused_above_110_percent_and_warned_of_from_90(free, fixed, share, status):
    found = judged(made(on(100 * share)))["memory"]
    assert found.status == status
    assert "not yet measured on a GPU" in found.found
    assert bool(found.remedy) == (status != "ok")


def test_the_fullest_of_the_chosen_gpus_counts(free, fixed):
    assert judged(made(on(200, 80)))["memory"].status == "failure"
    assert "80.00 GiB are free on the GPU" in judged(made(on(200, 80, None)))["memory"].found


def test_free_memory_that_is_not_told_is_not_judged(free, fixed):
    found = judged(made(on(None)))["memory"]
    assert (found.status, found.remedy) == ("ok", "")
    assert found.found.endswith("the free memory of the GPU is unknown")


def test_a_paged_optimizer_may_leave_the_gpu(free, fixed):
    assert judged(made(on(70)))["memory"].status == "failure"
    assert judged(made(on(70), optimizer="paged_adamw_8bit"))["memory"].status == "warning"
    assert judged(made(on(60), optimizer="paged_adamw_8bit"))["memory"].status == "failure"


@pytest.mark.parametrize(("share", "status"), SHARES)
def test_main_memory_is_wanted_by_each_process_on_gpus_too(free, fixed, share, status):
    free(20 * share)
    found = judged(made(on(200, 200)))
    assert found["memory"].status == "ok"
    assert found["main memory"].status == status
    assert "about 10.00 GiB a process, while the model is loaded" in found["main memory"].found


def test_main_memory_that_is_not_known_is_not_judged(free, fixed):
    free(0)
    assert judged(made(on(200)))["main memory"].status == judged(made(CPU))["memory"].status == "ok"


def test_no_main_memory_is_spoken_of_where_none_is_wanted(free):
    assert judged(made(on(80), backend="llamafactory")).keys() == {"memory"}


def test_offload_is_warned_of_by_deepspeeds_own_factor(free, fixed):
    free(16)
    found = judged(made(on(200), "zero2-offload"))["main memory"]
    assert found.status == "warning"
    assert "about 10.00 GiB a process, for offload up to 15.00 GiB" in found.found
    free(17)
    assert judged(made(on(200), "zero2-offload"))["main memory"].status == "ok"
    free(9)
    assert judged(made(on(200), "zero2-offload"))["main memory"].status == "failure"


@pytest.mark.parametrize(("share", "status"), SHARES)
def test_training_on_the_cpu_is_judged_by_main_memory_alone(free, fixed, share, status):
    free(200 * share)
    assert {name: check.status for name, check in judged(made(CPU)).items()} == {"memory": status}


def test_lora_on_one_gpu_is_told_of_zero_2(free):
    """XTuner keeps the weights in float32 there, and DeepSpeed in 16 bits."""
    found = judged(made(on(28), method="lora"))["memory"]
    assert found.status == "failure"
    assert found.remedy == "use `--deepspeed zero2` or `--deepspeed zero3-offload` or `--method qlora`"
    assert "zero2" not in judged(made(on(20), method="lora", backend="llamafactory"))["memory"].remedy


def test_other_programs_on_the_gpu_are_named_where_they_take_needed_memory(free):
    assert judged(made(on(10, total=81920)))["memory"].remedy.startswith("stop other programs on the GPU")
    assert "end what" not in judged(made(on(10, total=12_288)))["memory"].remedy


def test_memory_remedy_names_several_options_where_no_single_one_is_enough(free):
    planned = made(on(15))
    remedy = judged(planned)["memory"].remedy
    assert " with " in remedy
    for option in re.findall(r"`[^`]*`", remedy):
        assert judged(planned)["memory"].status != "ok"
        planned = follow(planned, option)
    assert judged(planned)["memory"].status == "ok"


@pytest.mark.slow
def test_memory_remedy_is_another_machine_where_no_option_is_enough(free):
    assert judged(made(on(5)), "72B")["memory"].remedy == "take a machine with more memory, or a smaller model"


@pytest.mark.slow
def test_quantising_the_whole_model_in_each_process_fails_on_main_memory(free):
    free(200)
    found = judged(made(on(*[80] * 8), "zero3"), "72B")["main memory"]
    assert found.status == "failure"
    assert found.remedy == "use `--deepspeed zero2`"
    assert judged(made(on(*[22] * 8), "zero3"), "72B")["memory"].status == "failure"


PLANS = [
    made(machine, deepspeed, **spec)
    for machine in (on(9), on(16), on(24), on(44), on(80), on(24, 24), on(44, 44, 44, 44), CPU)
    for deepspeed in ("none", "zero2", "zero3", "zero2-offload")
    for spec in (
        {"backend": "xtuner", "method": "qlora", "quantization_bits": 8, "micro_batch_size": 4},
        {"backend": "xtuner", "method": "lora", "gradient_checkpointing": False},
        {"backend": "llamafactory", "method": "lora", "dora": True},
        {"backend": "llamafactory", "method": "full", "optimizer": "adafactor"},
        {"backend": "xtuner", "method": "full"},
    )
    if deepspeed != "zero3" or spec.get("quantization_bits") != 8
]


@pytest.mark.parametrize("main", [40, 1000])
@pytest.mark.slow
def test_single_option_of_a_memory_remedy_is_enough_and_allowed(free, main):
    free(main)
    tried = set()
    for planned in PLANS:
        for check in judged(planned).values():
            for option in (
                re.findall(r"`[^`]*`", check.remedy.partition("use ")[2]) if " with " not in check.remedy else ()
            ):
                changed = follow(planned, option)
                tried.add(option)
                assert {each.status for each in judged(changed).values()} == {"ok"}, (planned, option)
                assert not [each for each in combination_checks(changed, {}, {}) if each.status == "failure"]
    assert len(tried) > 5


def test_a_quantised_model_is_neither_quantised_again_nor_shared_out(free):
    remedy = judged(made(on(5, 5), method="lora", cutoff_length=8192), quantization_config={"bits": 4})["memory"].remedy
    assert "qlora" not in remedy
    assert "zero3" not in remedy


def test_a_resumed_run_keeps_its_options(free):
    resumed = msgspec.structs.replace(made(on(5)), resume=Path("/run/output/iter_1.pth"))
    assert judged(resumed)["memory"].remedy == "take a machine with more memory"


@pytest.mark.slow
def test_the_tables_in_the_documents_are_what_the_code_makes():
    """`.venv/bin/python -m tests.launchers.preflight.memory_tables` writes them anew."""
    for path, text in documents().items():
        assert path.read_text("utf-8") == text, f"the table in {path.name} is not what the estimate says"


@pytest.mark.parametrize(("backend", "method"), [("xtuner", "lora"), ("llamafactory", "lora"), ("xtuner", "full")])
def test_two_options_are_found_where_the_one_that_lowers_it_most_leads_nowhere(free, backend, method):
    free(21)
    t4 = Gpu("Tesla T4", 15360, 7.5, "570.86", free=15090)
    planned = made(Devices("cuda", 2, "float16", (t4, t4)), method=method, backend=backend)
    remedy = judged(planned)["memory"].remedy
    named = re.findall(r"`(--[^`]+)`", remedy)
    assert len(named) == 2, remedy
    assert {check.status for check in judged(follow(follow(planned, named[0]), named[1])).values()} == {"ok"}
