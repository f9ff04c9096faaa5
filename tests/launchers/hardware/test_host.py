"""The machine itself: its memory and cores, a container's share of them, and the processor."""

from pathlib import Path

import pytest

from ftbridge.launchers.hardware import host
from ftbridge.launchers.hardware.host import available_memory


def test_free_main_memory_is_of_a_plausible_size():
    assert 2**20 < available_memory() < 2**50


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
    monkeypatch.setattr(host, "OWN_CGROUPS", tmp_path / "cgroup")
    assert list(host._available_in_cgroups()) == ([] if free is None else [free])
    assert available_memory() == free or free is None


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
    monkeypatch.setattr(host, "OWN_CGROUPS", tmp_path / "cgroup")
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


def test_processor_without_cpuinfo_gets_a_name(monkeypatch):
    monkeypatch.setattr(host, "CPU_INFO", Path("/nowhere"))
    host.processor.cache_clear()
    assert host.processor()[0]
    host.processor.cache_clear()
