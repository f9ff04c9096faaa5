"""GPUs: what nvidia-smi shows, and what CUDA_VISIBLE_DEVICES leaves of it."""

import pytest

from ftbridge.launchers.hardware.nvidia import Gpu, gpus
from ftbridge.launchers.hardware.nvidia import gpu_query as complaint

from ...builders.gpus import FIRST, MISMATCH, SECOND, TURING, rows  # noqa: TID252
from ...fake_gpu.fake import MIG, SLICES  # noqa: TID252


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


def test_complaint_of_the_driver_is_returned(smi):
    smi(MISMATCH)
    assert complaint() == f"{MISMATCH}\n"


def test_a_driver_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("ftbridge.launchers.hardware.nvidia.TIMEOUT", 0.2)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    assert gpus() == []
    assert complaint() == "nvidia-smi has not answered in 0.2 s"


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("NVIDIA GB10, [N/A], 12.1, 580.95.05, [N/A]", Gpu("NVIDIA GB10", None, 12.1, "580.95.05", None, "GPU-d")),
        ("GRID A10, 24564, [N/A], 570.1, 20000", Gpu("GRID A10", 24564, None, "570.1", 20000, "GPU-d")),
        ("A10, [Insufficient Permissions], 8.6, [N/A], 7", Gpu("A10", None, 8.6, "[N/A]", 7, "GPU-d")),
    ],
)
def test_card_values_that_are_not_told_are_none(smi, row, found):
    smi(f"0, GPU-d, {row}")
    assert gpus() == [found]


@pytest.mark.parametrize(
    "row",
    [
        "NVIDIA H100, PCIe, 80GB, 81559, 9.0, 570.1, 81000",
        "NVIDIA H100, PCIe, 80GB, 81559, 9.0, 570.1, 81000, Disabled",
    ],
)
def test_card_name_with_commas_is_read_whole(smi, row):
    smi(f"0, GPU-d, {row}")
    assert gpus() == [Gpu("NVIDIA H100, PCIe, 80GB", 81559, 9.0, "570.1", 81000, "GPU-d")]


def test_undecodable_output_of_nvidia_smi_is_read(tmp_path):
    (tmp_path / "nvidia-smi").write_bytes(b"#!/bin/sh\necho '0, GPU-d, NVIDIA \xff\xfe, 81559, 9.0, 570.1, 81000'\n")
    assert [gpu.memory for gpu in gpus()] == [81559]


def test_a_driver_that_does_not_know_every_column_is_asked_for_those_it_knows(tmp_path):
    (tmp_path / "nvidia-smi").write_text(
        '#!/bin/sh\ncase "$*" in\n'
        "*compute_cap*) echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2;;\n"
        "*) echo '0, GPU-d, Tesla V100, 16160, 450.80.02, 16000';;\nesac\n"
    )
    assert gpus() == [Gpu("Tesla V100", 16160, None, "450.80.02", 16000, "GPU-d")]


def test_card_that_nvidia_smi_cannot_reach_is_told_of(smi, capsys):
    smi("Unable to determine the device handle for GPU 0000:3B:00.0: Unknown Error", *rows(FIRST))
    assert gpus() == [FIRST]
    assert "a GPU is left out; nvidia-smi says: Unable to determine" in capsys.readouterr().err


def test_unknown_index_in_cuda_visible_devices_ends_the_list_with_a_warning(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,99,1")
    assert gpus() == [FIRST]
    assert capsys.readouterr().err == "CUDA_VISIBLE_DEVICES is `0,99,1`: `99` names no GPU here, and CUDA stops at it\n"


@pytest.mark.parametrize("complaint", ["[GPU is lost]", "[Unknown Error]", "[GPU requires reset]"])
def test_a_card_that_does_not_answer_is_left_out_with_a_word(smi, capsys, complaint):
    smi(f"0, GPU-x, NVIDIA X, {complaint}, 8.0, 570.1, {complaint}", *rows(FIRST, SECOND)[1:])
    assert gpus() == [SECOND]
    gpus()
    assert capsys.readouterr().err == (
        f"GPU 0 does not answer (nvidia-smi: {complaint}) and is left out; restart the machine\n"
    )


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
