"""GPUs: what nvidia-smi shows, what CUDA_VISIBLE_DEVICES leaves, and what a training gets."""

import time
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.hardware import devices, host, nvidia
from ftbridge.launchers.hardware.devices import Devices, choose, computing
from ftbridge.launchers.hardware.host import main_memory
from ftbridge.launchers.hardware.nvidia import Gpu, gpus
from ftbridge.launchers.hardware.nvidia import smi as complaint

from ...fake_gpu.fake import MIG, RTX4090, SLICES, nvidia_smi  # noqa: TID252

FIRST = Gpu("NVIDIA A100-SXM4-80GB", 81920, 8.0, "570.86.15", 40000, "GPU-aaaa-1")
SECOND = msgspec.structs.replace(FIRST, free=81150, uuid="GPU-bbbb-2")
TURING = Gpu("Tesla T4", 15360, 7.5, "570.86.15", 14914, "GPU-cccc-3")
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"


def rows(*cards):
    return [
        f"{index}, {gpu.uuid}, {gpu.name}, {gpu.memory}, {gpu.capability}, {gpu.driver}, {gpu.free}, Disabled"
        for index, gpu in enumerate(cards)
    ]


@pytest.fixture(autouse=True)
def smi(tmp_path, monkeypatch):
    """Make an nvidia-smi with three GPUs the only program on the path; returns a function for another output."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvidia, "DRIVER_FILES", (tmp_path / "nvidia0",))

    def says(*lines, listed=""):
        nvidia_smi(tmp_path, *lines, listed=listed)

    says(*rows(FIRST, SECOND, TURING))
    return says


def spec(**values):
    return TrainSpec(backend="xtuner", model="base", dataset="faq", **values)


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, [FIRST, SECOND, TURING]),
        ("", []),
        ("-1", []),
        ("2", [TURING]),
        ("2, 0", [TURING, FIRST]),
        ("2,2", [TURING]),
        ("0,", [FIRST]),
        ("0,-1,2", [FIRST]),
        ("0,7,2", [FIRST]),
        ("GPU-cccc", [TURING]),
        ("GPU-bbbb-2,GPU-cccc-3", [SECOND, TURING]),
        ("7", []),
        ("NoDevFiles", []),
    ],
)
def test_the_environment_chooses_by_index_or_name(monkeypatch, visible, found):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == found


@pytest.mark.parametrize("text", ["", MISMATCH, "No devices"])
def test_a_driver_that_shows_nothing_is_no_gpu(smi, text):
    smi(text)
    assert gpus() == []


def test_what_the_driver_complains_of_is_told(smi):
    smi(MISMATCH)
    assert complaint() == f"{MISMATCH}\n"


def test_a_driver_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("ftbridge.launchers.hardware.nvidia.PATIENCE", 0.2)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    assert gpus() == []
    assert complaint() == "nvidia-smi has not answered in 0.2 s"


def test_one_command_asks_once(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho '{rows(TURING)[0]}'\n")
    assert (gpus(), computing("auto"), choose(spec()).gpus) == ([TURING], [TURING], (TURING,))
    assert (tmp_path / "asked").read_text() == "asked\n"
    now = time.monotonic()
    monkeypatch.setattr(nvidia.time, "monotonic", lambda: now + nvidia.FRESH + 1)
    gpus()
    assert (tmp_path / "asked").read_text() == "asked\n" * 2


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("NVIDIA GB10, [N/A], 12.1, 580.95.05, [N/A]", Gpu("NVIDIA GB10", None, 12.1, "580.95.05", None, "GPU-d")),
        ("GRID A10, 24564, [N/A], 570.1, 20000", Gpu("GRID A10", 24564, None, "570.1", 20000, "GPU-d")),
        ("A10, [Insufficient Permissions], 8.6, [N/A], 7", Gpu("A10", None, 8.6, "[N/A]", 7, "GPU-d")),
    ],
)
def test_what_is_not_told_is_none(smi, row, found):
    smi(f"0, GPU-d, {row}")
    assert gpus() == [found]


@pytest.mark.parametrize(
    "row",
    [
        "NVIDIA H100, PCIe, 80GB, 81559, 9.0, 570.1, 81000",
        "NVIDIA H100, PCIe, 80GB, 81559, 9.0, 570.1, 81000, Disabled",
    ],
)
def test_a_name_may_hold_commas(smi, row):
    smi(f"0, GPU-d, {row}")
    assert gpus() == [Gpu("NVIDIA H100, PCIe, 80GB", 81559, 9.0, "570.1", 81000, "GPU-d")]


def test_letters_that_are_none_do_no_harm(tmp_path):
    (tmp_path / "nvidia-smi").write_bytes(b"#!/bin/sh\necho '0, GPU-d, NVIDIA \xff\xfe, 81559, 9.0, 570.1, 81000'\n")
    assert [gpu.memory for gpu in gpus()] == [81559]


def test_a_driver_that_does_not_know_every_column_is_asked_for_those_it_knows(tmp_path):
    (tmp_path / "nvidia-smi").write_text(
        '#!/bin/sh\ncase "$*" in\n'
        "*compute_cap*) echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2;;\n"
        "*) echo '0, GPU-d, Tesla V100, 16160, 450.80.02, 16000';;\nesac\n"
    )
    assert gpus() == [Gpu("Tesla V100", 16160, None, "450.80.02", 16000, "GPU-d")]


def test_a_card_that_has_no_row_is_said_too(smi, capsys):
    smi("Unable to determine the device handle for GPU 0000:3B:00.0: Unknown Error", *rows(FIRST))
    assert gpus() == [FIRST]
    assert "a GPU is left out; nvidia-smi says: Unable to determine" in capsys.readouterr().err


def test_cuda_stops_at_what_it_does_not_know_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,99,1")
    assert gpus() == [FIRST]
    assert capsys.readouterr().err == "CUDA_VISIBLE_DEVICES is `0,99,1`: `99` names no GPU here, and CUDA stops at it\n"


def test_a_gpu_without_a_uuid_is_called_by_its_number(smi):
    smi("3, [N/A], NVIDIA X, 24564, 8.6, 570.1, 20000")
    assert devices.environment(gpus())["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize("complaint", ["[GPU is lost]", "[Unknown Error]", "[GPU requires reset]"])
def test_a_card_that_does_not_answer_is_left_out_with_a_word(smi, capsys, complaint):
    smi(f"0, GPU-x, NVIDIA X, {complaint}, 8.0, 570.1, {complaint}", *rows(FIRST, SECOND)[1:])
    assert gpus() == [SECOND]
    gpus()
    assert capsys.readouterr().err == (
        f"GPU 0 does not answer (nvidia-smi: {complaint}) and is left out; restart the machine\n"
    )


def test_no_driver_is_no_gpu(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus() == []
    assert choose(spec()) == Devices("cpu", 1, "float32")
    with pytest.raises(SetupError, match=r"--device cuda.*ftbridge doctor"):
        choose(spec(device="cuda"))


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
            choose(spec(device=wanted))
    assert choose(spec(device="cpu")).device == "cpu"


def test_an_nvidia_smi_that_ends_without_a_word_is_no_silent_run_on_the_cpu(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(SetupError, match="exit status 9 and said nothing"):
        choose(spec())


@pytest.mark.parametrize(
    ("visible", "says"), [("", None), ("-1", None), ("NoDevFiles", None), (None, "No devices were found"), (None, "")]
)
def test_gpus_that_are_hidden_on_purpose_or_not_there_leave_the_cpu(smi, monkeypatch, visible, says):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if says is not None:
        smi(says)
    assert choose(spec()).device == "cpu"


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
def test_a_training_gets_what_it_asks_for(values, made):
    assert choose(spec(**values)) == made


def test_cards_of_one_kind_are_taken_the_newest_first_or_the_first_named(smi, monkeypatch):
    third = msgspec.structs.replace(TURING, uuid="GPU-dddd-4", free=15000)
    smi(*rows(TURING, FIRST, third))
    assert choose(spec()).gpus == (FIRST,)
    assert choose(spec(gpus=2)).gpus == (third, TURING)
    assert choose(spec(gpus=3)).gpus == (FIRST, third, TURING)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert choose(spec()).gpus == (third,)


def test_more_than_is_visible_is_an_error(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(SetupError, match=r"`--gpus 3` asks for more than the 2 visible here"):
        choose(spec(gpus=3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpus": 3, "dtype": "bfloat16"}, r"needs compute capability 8.0, and Tesla T4 has 7.5"),
        ({"device": "cpu", "dtype": "float16"}, r"`--dtype float16` needs a GPU"),
        ({"device": "cpu", "optimizer": "adamw_8bit"}, r"`--optimizer adamw_8bit` needs a GPU"),
        ({"device": "cpu", "optimizer": "paged_adamw_32bit"}, r"`--optimizer paged_adamw_32bit` needs a GPU"),
    ],
)
def test_what_this_kind_of_machine_cannot_do_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        choose(spec(**values))


def test_a_dtype_that_the_cards_have_is_taken():
    assert choose(spec(gpus=2, dtype="float16")).dtype == "float16"
    assert choose(spec(gpus=2, dtype="bfloat16", optimizer="paged_adamw_8bit")).dtype == "bfloat16"


def test_a_capability_that_is_not_told_is_float16_unless_bfloat16_is_asked_for(smi):
    smi("0, GPU-d, GRID A10, 24564, [N/A], 570.1, 20000")
    assert choose(spec()).dtype == "float16"
    assert choose(spec(dtype="bfloat16")).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("visible", "listed", "uuids"),
    [
        (None, SLICES, ["MIG-one", "MIG-two"]),
        ("0", SLICES, ["MIG-one", "MIG-two"]),
        ("GPU-a100-0", SLICES, ["MIG-one", "MIG-two"]),
        ("MIG-two", SLICES, ["MIG-two"]),
        ("MIG-two", "Insufficient permissions", ["MIG-two"]),
        (None, "", ["GPU-a100-0"]),
        ("GPU-other", SLICES, []),
        ("MIG-that-is-not-there", SLICES, []),
    ],
)
def test_a_slice_of_a_gpu_is_one_of_unknown_memory(smi, monkeypatch, visible, listed, uuids):
    smi(MIG, listed=listed)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = gpus()
    assert [gpu.uuid for gpu in found] == uuids
    assert {(gpu.memory, gpu.free, gpu.capability) for gpu in found} <= {(None, None, 8.0)}
    assert all("MIG" in gpu.name for gpu in found)


def test_a_slice_of_cards_without_slices_is_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-one")
    with pytest.raises(SetupError, match="`MIG-one`, which names none of the GPUs here"):
        choose(spec())


def test_whole_cards_beside_slices_train_together(smi):
    smi(MIG, *rows(FIRST, FIRST, SECOND)[1:], listed=SLICES)
    assert choose(spec(gpus=2)).gpus == (SECOND, FIRST)
    with pytest.raises(UsageError, match=r"A100-SXM4-40GB MIG 1g.5gb is a slice.*`--gpus 2`"):
        choose(spec(gpus="all"))


def test_slices_do_not_train_together(smi):
    smi(MIG, listed=SLICES)
    assert choose(spec()).gpus[0].uuid == "MIG-one"
    with pytest.raises(UsageError, match="slices cannot train together"):
        choose(spec(gpus=2))


def test_a_child_sees_its_cards_alone(monkeypatch):
    for name in (
        *devices.ALLOCATOR,
        "NCCL_P2P_DISABLE",
        "NCCL_IB_DISABLE",
        "TORCH_NCCL_AVOID_RECORD_STREAMS",
        "OMP_WAIT_POLICY",
        "OMP_NUM_THREADS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "cores", lambda: 3)
    assert devices.environment([]) == {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "3",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    one = devices.environment([SECOND])
    assert one == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-bbbb-2",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    }
    two = devices.environment([SECOND, FIRST])
    assert two["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb-2,GPU-aaaa-1"
    assert two["TORCH_NCCL_AVOID_RECORD_STREAMS"] == "1"
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    assert not {*devices.ALLOCATOR} & devices.environment([SECOND]).keys()


@pytest.mark.parametrize(
    ("cards", "driver", "told"),
    [(2, "535.161.07", True), (1, "535.161.07", False), (2, "550.40.07", False), (2, "[N/A]", False)],
)
def test_several_rtx40_with_an_older_driver_do_not_try_to_reach_each_other(smi, monkeypatch, cards, driver, told):
    for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    smi(*(RTX4090.format(number).replace("535.161.07", driver) for number in range(cards)))
    given = devices.environment(gpus()[:1])
    assert ({"NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"} <= given.keys()) is told


def test_free_memory_is_told():
    assert 2**20 < main_memory() < 2**50


@pytest.mark.parametrize(
    ("group", "files", "free"),
    [
        (
            "0::/box",
            {"box/memory.max": "1000", "box/memory.current": "900", "box/memory.stat": "inactive_file 50"},
            150,
        ),
        ("0::/box/in", {"box/memory.max": "500", "box/memory.current": "0", "box/memory.stat": "inactive_file 0"}, 500),
        ("0::/box", {"memory.max": "700", "memory.current": "0", "memory.stat": "inactive_file 0"}, 700),
        (
            "4:cpu,memory:/box",
            {
                "memory/box/memory.limit_in_bytes": "300",
                "memory/box/memory.usage_in_bytes": "100",
                "memory/box/memory.stat": "cache 3\ntotal_inactive_file 9",
            },
            209,
        ),
        ("0::/box", {"box/memory.max": "max", "box/memory.current": "9", "box/memory.stat": "inactive_file 0"}, None),
        ("3:cpuset:/", {}, None),
    ],
)
def test_a_container_has_the_memory_that_it_was_given(tmp_path, monkeypatch, group, files, free):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "cgroup").write_text(f"{group}\n")
    monkeypatch.setattr(host, "CGROUPS", tmp_path)
    monkeypatch.setattr(host, "GROUPS_OF_THIS", tmp_path / "cgroup")
    assert list(host._limited()) == ([] if free is None else [free])
    assert main_memory() == free or free is None


@pytest.mark.parametrize(
    ("group", "files", "found"),
    [
        ("0::/box", {"box/cpu.max": "150000 100000"}, 2),
        ("0::/box/in", {"box/cpu.max": "100000 100000", "box/in/cpu.max": "max 100000"}, 1),
        ("0::/box", {"cpu.max": "6400000 100000"}, 8),
        ("5:cpu,cpuacct:/box", {"cpu/box/cpu.cfs_quota_us": "300000", "cpu/box/cpu.cfs_period_us": "100000"}, 3),
        ("5:cpu:/box", {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"}, 8),
        ("3:cpuset:/", {}, 8),
    ],
)
def test_a_container_has_the_cores_that_it_was_given(tmp_path, monkeypatch, group, files, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "cgroup").write_text(f"{group}\n")
    monkeypatch.setattr(host, "CGROUPS", tmp_path)
    monkeypatch.setattr(host, "GROUPS_OF_THIS", tmp_path / "cgroup")
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: set(range(8)))
    assert host.cores() == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx512_bf16\n", ("AMD EPYC", True)),
        ("model name\t: Core i5\nflags\t\t: fpu avx2\nmodel name\t: other\n", ("Core i5", False)),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", (host.os.uname().machine, True)),
    ],
)
def test_the_processor_tells_whether_it_has_bfloat16(tmp_path, monkeypatch, text, told):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(host, "CPU_INFO", tmp_path / "cpuinfo")
    host.processor.cache_clear()
    assert host.processor() == told
    host.processor.cache_clear()


def test_a_processor_that_is_not_told_has_a_name(monkeypatch):
    monkeypatch.setattr(host, "CPU_INFO", Path("/nowhere"))
    host.processor.cache_clear()
    assert host.processor()[0]
    host.processor.cache_clear()
