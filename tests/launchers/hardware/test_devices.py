"""GPUs: what a training gets of them, what is refused, and what its processes see."""

import time

import msgspec
import pytest

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.hardware import devices, nvidia
from ftbridge.launchers.hardware.devices import Devices, choose_devices, usable_gpus
from ftbridge.launchers.hardware.nvidia import gpus

from ...builders.gpus import FIRST, MISMATCH, SECOND, TURING, rows  # noqa: TID252
from ...fake_gpu.fake import MIG, RTX4090, SLICES  # noqa: TID252


def spec(**values):
    return TrainSpec(backend="xtuner", model="base", dataset="faq", **values)


def test_nvidia_smi_is_asked_once_by_one_command(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho '{rows(TURING)[0]}'\n")
    assert (gpus(), usable_gpus("auto"), choose_devices(spec()).gpus) == ([TURING], [TURING], (TURING,))
    assert (tmp_path / "asked").read_text() == "asked\n"
    now = time.monotonic()
    monkeypatch.setattr(nvidia.time, "monotonic", lambda: now + nvidia.ANSWER_LIFETIME + 1)
    gpus()
    assert (tmp_path / "asked").read_text() == "asked\n" * 2


def test_a_gpu_without_a_uuid_is_called_by_its_number(smi):
    smi("3, [N/A], NVIDIA X, 24564, 8.6, 570.1, 20000")
    assert devices.device_variables(gpus())["CUDA_VISIBLE_DEVICES"] == "3"


def test_machine_without_a_driver_has_no_gpu(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus() == []
    assert choose_devices(spec()) == Devices("cpu", 1, "float32")
    with pytest.raises(SetupError, match=r"--device cuda.*ftbridge doctor"):
        choose_devices(spec(device="cuda"))


@pytest.mark.parametrize(
    ("visible", "says", "files", "why"),
    [
        ("7", None, (), r"`7`, which names none of the GPUs here: 0 \(NVIDIA A100-SXM4-80GB, GPU-aaaa-1\), 1 "),
        ("GPU-zzzz", None, (), "`GPU-zzzz`, which names none"),
        (None, MISMATCH, (), "nvidia-smi says: Failed to initialize NVML"),
        (None, 'Field "compute_cap" is not a valid field to query.', (), "compute_cap"),
        (None, "No devices were found", ("nvidia0",), "No devices were found"),
        (None, "", ("nvidia0",), "nvidia0 is there, and nvidia-smi.* is not on the path.*=compute,utility"),
        (None, "It is broken.", (), r"nvidia-smi says: It is broken\. `ftbridge doctor`"),
        ("0", "", (), "`0`, and there is no NVIDIA GPU; unset it"),
        ("MIG-one", "", (), "`MIG-one`, and there is no NVIDIA GPU"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_no_silent_run_on_the_cpu(smi, tmp_path, monkeypatch, visible, says, files, why):
    for name in files:
        (tmp_path / name).touch()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if says == "":
        (tmp_path / "nvidia-smi").unlink()
    elif says:
        smi(says)
    for wanted in ("auto", "cuda"):
        with pytest.raises(SetupError, match=f"{why}.*`--device cpu`"):
            choose_devices(spec(device=wanted))
    assert choose_devices(spec(device="cpu")).device == "cpu"


def test_an_nvidia_smi_that_ends_without_a_word_is_no_silent_run_on_the_cpu(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(SetupError, match="exit status 9 and said nothing"):
        choose_devices(spec())


@pytest.mark.parametrize(
    ("visible", "says"), [("", None), ("-1", None), ("NoDevFiles", None), (None, "No devices were found"), (None, "")]
)
def test_gpus_that_are_hidden_on_purpose_or_not_there_leave_the_cpu(smi, monkeypatch, visible, says):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if says is not None:
        smi(says)
    assert choose_devices(spec()).device == "cpu"
    for asked in (2, "all"):
        with pytest.raises(SetupError, match=rf"`--gpus {asked}` needs NVIDIA GPUs.*`--device cpu`"):
            choose_devices(spec(gpus=asked))
    assert choose_devices(spec(gpus=2, device="cpu")).processes == 2


@pytest.mark.parametrize(
    ("values", "made"),
    [
        ({}, Devices("cuda", 1, "bfloat16", (SECOND,))),
        ({"device": "cuda", "gpus": 2}, Devices("cuda", 2, "bfloat16", (SECOND, FIRST))),
        ({"gpus": "all"}, Devices("cuda", 3, "float16", (SECOND, FIRST, TURING))),
        ({"device": "cpu", "gpus": 2}, Devices("cpu", 2, "float32")),
        ({"device": "cpu", "gpus": "all"}, Devices("cpu", 1, "float32")),
        ({"device": "cpu", "dtype": "bfloat16"}, Devices("cpu", 1, "bfloat16")),
        ({"dtype": "float32"}, Devices("cuda", 1, "float32", (SECOND,))),
    ],
)
def test_training_gets_the_devices_that_it_asks_for(values, made):
    assert choose_devices(spec(**values)) == made


def test_cards_of_one_kind_are_taken_the_newest_first_or_the_first_named(smi, monkeypatch):
    third = msgspec.structs.replace(TURING, uuid="GPU-dddd-4", free=15000)
    smi(*rows(TURING, FIRST, third))
    assert choose_devices(spec()).gpus == (FIRST,)
    assert choose_devices(spec(gpus=2)).gpus == (third, TURING)
    assert choose_devices(spec(gpus=3)).gpus == (FIRST, third, TURING)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert choose_devices(spec()).gpus == (third,)


def test_more_gpus_than_are_visible_are_an_error(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(SetupError, match=r"`--gpus 3` asks for more than the 2 visible here"):
        choose_devices(spec(gpus=3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpus": 3, "dtype": "bfloat16"}, r"needs compute capability 8.0, and Tesla T4 has 7.5"),
        ({"device": "cpu", "dtype": "float16"}, r"`--dtype float16` needs a GPU"),
        ({"device": "cpu", "optimizer": "adamw_8bit"}, r"`--optimizer adamw_8bit` needs a GPU"),
        ({"device": "cpu", "optimizer": "paged_adamw_32bit"}, r"`--optimizer paged_adamw_32bit` needs a GPU"),
    ],
)
def test_dtype_or_optimizer_that_the_machine_cannot_use_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        choose_devices(spec(**values))


def test_a_dtype_that_the_cards_have_is_taken():
    assert choose_devices(spec(gpus=2, dtype="float16")).dtype == "float16"
    assert choose_devices(spec(gpus=2, dtype="bfloat16", optimizer="paged_adamw_8bit")).dtype == "bfloat16"


def test_a_capability_that_is_not_told_is_float16_unless_bfloat16_is_asked_for(smi):
    smi("0, GPU-d, GRID A10, 24564, [N/A], 570.1, 20000")
    assert choose_devices(spec()).dtype == "float16"
    assert choose_devices(spec(dtype="bfloat16")).dtype == "bfloat16"


def test_visible_slice_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-one")
    with pytest.raises(SetupError, match="`MIG-one`, which names none of the GPUs here"):
        choose_devices(spec())


def test_whole_cards_beside_slices_train_together(smi):
    smi(MIG, *rows(FIRST, FIRST, SECOND)[1:], listed=SLICES)
    assert choose_devices(spec(gpus=2)).gpus == (SECOND, FIRST)
    with pytest.raises(UsageError, match=r"A100-SXM4-40GB MIG 1g.5gb is a slice.*`--gpus 2`"):
        choose_devices(spec(gpus="all"))


def test_training_on_two_mig_slices_is_refused(smi):
    smi(MIG, listed=SLICES)
    assert choose_devices(spec()).gpus[0].uuid == "MIG-one"
    with pytest.raises(UsageError, match="slices cannot train together"):
        choose_devices(spec(gpus=2))


def test_a_child_sees_its_cards_alone(monkeypatch):
    for name in (
        *devices.ALLOCATOR_VARIABLES,
        "NCCL_P2P_DISABLE",
        "NCCL_IB_DISABLE",
        "TORCH_NCCL_AVOID_RECORD_STREAMS",
        "OMP_WAIT_POLICY",
        "OMP_NUM_THREADS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "cores", lambda: 3)
    assert devices.device_variables([]) == {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "3",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    one = devices.device_variables([SECOND])
    assert one == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-bbbb-2",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    }
    two = devices.device_variables([SECOND, FIRST])
    assert two["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb-2,GPU-aaaa-1"
    assert two["TORCH_NCCL_AVOID_RECORD_STREAMS"] == "1"
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    assert not {*devices.ALLOCATOR_VARIABLES} & devices.device_variables([SECOND]).keys()


@pytest.mark.parametrize(
    ("cards", "driver", "told"),
    [(2, "535.161.07", True), (1, "535.161.07", False), (2, "550.40.07", False), (2, "[N/A]", False)],
)
def test_several_rtx40_with_an_older_driver_do_not_try_to_reach_each_other(smi, monkeypatch, cards, driver, told):
    for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    smi(*(RTX4090.format(number).replace("535.161.07", driver) for number in range(cards)))
    given = devices.device_variables(gpus()[:1])
    assert ({"NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"} <= given.keys()) is told
