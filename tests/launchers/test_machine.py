"""GPUs: what nvidia-smi shows, what CUDA_VISIBLE_DEVICES leaves, and what a training gets."""

import pytest

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.spec import TrainSpec
from ftbridge.launchers.machine import Gpu, Machine, choose, gpus, main_memory
from ftbridge.launchers.machine import smi as complaint

AMPERE = Gpu("NVIDIA A100-SXM4-80GB", 81920, 8.0, "570.86.15", 81150)
TURING = Gpu("Tesla T4", 15360, 7.5, "570.86.15", 14914)
ROWS = {"GPU-aaaa-1": AMPERE, "GPU-bbbb-2": AMPERE, "GPU-cccc-3": TURING}


@pytest.fixture(autouse=True)
def smi(tmp_path, monkeypatch):
    """Make an nvidia-smi with three GPUs the only program on the path; returns a function for another output."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def says(text):
        script = tmp_path / "nvidia-smi"
        script.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in text.splitlines()))
        script.chmod(0o755)

    says(
        "\n".join(
            f"{index}, {uuid}, {gpu.name}, {gpu.memory}, {gpu.capability}, {gpu.driver}, {gpu.free}"
            for index, (uuid, gpu) in enumerate(ROWS.items())
        )
    )
    return says


def spec(**values):
    return TrainSpec(backend="xtuner", model="base", dataset="faq", **values)


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, [AMPERE, AMPERE, TURING]),
        ("", []),
        ("-1", []),
        ("2", [TURING]),
        ("2, 0", [TURING, AMPERE]),
        ("0,", [AMPERE]),
        ("GPU-cccc", [TURING]),
        ("GPU-bbbb-2,GPU-cccc-3", [AMPERE, TURING]),
        ("7", []),
        ("NoDevFiles", []),
    ],
)
def test_the_environment_chooses_by_index_or_name(monkeypatch, visible, found):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == found


@pytest.mark.parametrize("text", ["", "Failed to initialize NVML: Driver/library version mismatch", "No devices"])
def test_a_driver_that_shows_nothing_is_no_gpu(smi, text):
    smi(text)
    assert gpus() == []


def test_what_the_driver_complains_of_is_told(smi):
    smi("Failed to initialize NVML: Driver/library version mismatch")
    assert complaint() == "Failed to initialize NVML: Driver/library version mismatch\n"


def test_a_driver_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("ftbridge.launchers.machine.PATIENCE", 0.2)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    assert gpus() == []
    assert complaint() == "nvidia-smi has not answered in 0.2 s"


def test_memory_that_is_not_told_is_zero(smi):
    smi("0, GPU-dddd-4, NVIDIA GB10, [N/A], 12.1, 580.95.05, [N/A]")
    assert gpus() == [Gpu("NVIDIA GB10", 0, 12.1, "580.95.05", 0)]


def test_no_driver_is_no_gpu(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus() == []
    assert choose(spec()) == Machine("cpu", 1, "bfloat16")
    with pytest.raises(SetupError, match=r"--device cuda.*ftbridge doctor"):
        choose(spec(device="cuda"))


@pytest.mark.parametrize(
    ("values", "machine"),
    [
        ({}, Machine("cuda", 1, "bfloat16", (AMPERE,))),
        ({"device": "cuda", "gpus": 2}, Machine("cuda", 2, "bfloat16", (AMPERE, AMPERE))),
        ({"gpus": "all"}, Machine("cuda", 3, "float16", (AMPERE, AMPERE, TURING))),
        ({"device": "cpu", "gpus": 2}, Machine("cpu", 2, "bfloat16")),
        ({"device": "cpu", "gpus": "all"}, Machine("cpu", 1, "bfloat16")),
    ],
)
def test_a_training_gets_what_it_asks_for(values, machine):
    assert choose(spec(**values)) == machine


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


def test_free_memory_is_told():
    assert 2**20 < main_memory() < 2**50
