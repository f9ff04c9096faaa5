"""The doctor: what is looked at, and the remedy where it is not well."""

import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.launchers.environment import doctor as module
from ftbridge.launchers.environment.doctor import GIB, LOCKED_BUILD, doctor, toolkit_check, verdict
from ftbridge.launchers.environment.venv import Inspection, Package
from ftbridge.launchers.environment.venv import pinned_versions as pinned
from ftbridge.launchers.hardware import host
from ftbridge.launchers.process import caches

from ...builders.environments import make_environment, program, torch_environment  # noqa: TID252
from ...fake_gpu.fake import RTX4090, nvidia_smi  # noqa: TID252

A100 = "0, GPU-aaaa-1, NVIDIA A100-SXM4-80GB, 81920, 8.0, 570.86.15, 81150"


class Hub(BaseHTTPRequestHandler):
    """Answers every request with the server's `status`, and keeps what it was sent."""

    def do_HEAD(self):
        self.server.asked.append((self.path, dict(self.headers)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def hub():
    server = HTTPServer(("127.0.0.1", 0), Hub)
    server.status, server.asked, server.url = 200, [], f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def well(tmp_path, monkeypatch, hub):
    """Stand on a machine where all is well; returns what an environment holds, to be changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDA_PATH", "MODELSCOPE_DOMAIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    nvidia_smi(tmp_path / "path", A100)
    program(tmp_path / "path" / "bin" / "nvcc", "echo 'Cuda compilation tools, release 12.8, V12.8.93'")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "path"))
    make_environment(tmp_path / "ftbridge" / "training")
    torch_environment(tmp_path / "ftbridge" / "training")
    seen = {
        "python": "3.11.7",
        "packages": {name: Package(version, 0) for name, version in pinned("transformers5").items()},
        "imports": dict.fromkeys(("xtuner", "llamafactory", "deepspeed", "bitsandbytes"), ""),
    }
    monkeypatch.setattr(module, "inspect_environment", lambda *_: Inspection(**seen))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100 * GIB, total=100 * GIB))
    return seen


def poor():
    """Return the checks that are not ok, by name."""
    return {check.name: check for check in doctor() if check.status != "ok"}


def test_doctor_on_a_whole_setup_finds_nothing_wrong():
    found = doctor()
    assert [check for check in found if check.status != "ok"] == []
    quick = ["Python", "processor", "the backends' Python", "torch", "GPU", "CUDA toolkit", "shared memory"]
    quick += ["disk for runs", "disk for the environment", "caches", "Hugging Face", "ModelScope"]
    imported = ["llamafactory", "xtuner", "deepspeed", "bitsandbytes"]
    assert [check.name for check in found] == [*quick, "versions", *imported, "flash-attn"]


def test_unsupported_python_is_a_failure(monkeypatch):
    monkeypatch.setattr(module.sys, "version_info", (3, 13, 0))
    assert (poor()["Python"].status, poor()["Python"].found) == ("failure", f"3.13.0, {sys.executable}")


def test_memory_and_driver_are_shown():
    gpu = next(check for check in doctor() if check.name == "GPU")
    assert gpu.found == (
        "NVIDIA A100-SXM4-80GB, 81920 MiB, 81150 MiB of them free, compute capability 8.0, driver 570.86.15"
    )


def test_cards_before_the_setup_are_judged_by_the_locked_torch(tmp_path, monkeypatch):
    assert LOCKED_BUILD.version.startswith(pinned("transformers5")["torch"])
    assert pinned("transformers5")["nvidia-cuda-runtime-cu12"].startswith(LOCKED_BUILD.cuda)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    nvidia_smi(tmp_path / "path", "0, GPU-1, Tesla P100, 16280, 6.0, 570.86, 16000")
    found = poor()
    assert found.keys() == {"xtuner", "llamafactory", "GPU"}
    assert found["xtuner"].remedy == "ftbridge setup"
    assert found["GPU"].status == "failure"


def test_interpreter_shared_by_backends_is_judged_once(tmp_path):
    one, two = (torch_environment(tmp_path / name, cuda) for name, cuda in (("one", "12.8"), ("two", "13.0")))
    (tmp_path / "ftbridge.yaml").write_text(f"backends: {{xtuner: {{python: {one}}}, llamafactory: {{python: {two}}}}}")
    found = doctor()
    assert [check.status for check in found if check.name == "GPU"] == ["failure", "ok"]
    assert len([check for check in found if check.name == "versions"]) == 2
    (tmp_path / "ftbridge.yaml").write_text(f"backends: {{xtuner: {{python: {one}}}, llamafactory: {{python: {one}}}}}")
    assert len([check for check in doctor() if check.name in {"GPU", "versions"}]) == 2


@pytest.mark.parametrize(
    ("visible", "says", "status", "text"),
    [
        (None, "", "warning", "install its driver"),
        (None, "No devices were found", "warning", "install its driver"),
        (None, "NVML: Driver/library version mismatch", "failure", "nvidia-smi says: NVML: Driver/library version"),
        ("", A100, "warning", "unset it"),
        ("7", A100, "failure", "names none of the GPUs here: 0 (NVIDIA A100-SXM4-80GB, GPU-aaaa-1)"),
    ],
)
def test_no_gpu_is_a_warning_and_one_that_cannot_be_used_a_failure(tmp_path, monkeypatch, visible, says, status, text):
    nvidia_smi(tmp_path / "path", *([says] if says else []))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    check = poor()["GPU"]
    assert check.status == status
    assert text in check.found + check.remedy


def test_deepspeed_that_cannot_be_imported_is_a_failure(well):
    well["imports"]["deepspeed"] = "MissingCUDAException: CUDA_HOME does not exist, unable to compile CUDA op(s)"
    assert (poor()["deepspeed"].status, poor()["deepspeed"].remedy) == ("failure", "ftbridge setup")


def test_a_package_that_not_all_trainings_need_may_be_missing(well):
    well["imports"]["deepspeed"] = "ModuleNotFoundError: No module named 'deepspeed'"
    del well["packages"]["deepspeed"]
    assert poor()["deepspeed"].status == "warning"


def test_cards_that_cannot_reach_each_other_are_a_warning(tmp_path):
    nvidia_smi(tmp_path / "path", *(RTX4090.format(number) for number in range(2)))
    assert "driver 535.161.07" in poor()["GPUs"].found
    nvidia_smi(tmp_path / "path", RTX4090.format(0))
    assert poor() == {}


@pytest.mark.parametrize(
    ("release", "status", "found"),
    [
        ("12.4", "ok", "12.4 in "),
        ("13.0", "warning", "13.0 in .* while torch is built for CUDA 12.8"),
        ("none", "warning", "the version of .* is unknown"),
        ("", "warning", "CUDA_HOME or CUDA_PATH is .* without bin/nvcc"),
    ],
)
def test_toolkit_of_another_major_version_than_torchs_is_told(tmp_path, release, status, found):
    nvcc = program(tmp_path / "path" / "bin" / "nvcc", f"echo 'Cuda compilation tools, release {release}, V1'")
    if not release:
        nvcc.unlink()
    check = toolkit_check("12.8")
    assert (check.status, bool(module.re.search(found, check.found))) == (status, True), check


def test_without_a_gpu_no_toolkit_is_looked_for(tmp_path):
    nvidia_smi(tmp_path / "path")
    assert "CUDA toolkit" not in [check.name for check in doctor()]


def test_the_verdict_counts_failures_or_says_what_trains(well, tmp_path):
    assert verdict(doctor()) == "ready: train on the GPU"
    nvidia_smi(tmp_path / "path")
    assert verdict(doctor()) == "ready: train on the CPU; 1 warning"
    well["imports"]["xtuner"] = "ImportError: no mmengine"
    assert verdict(doctor()) == "not ready: fix the 1 failure above"


def test_a_machine_without_a_toolkit_is_well(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setattr(host, "CUDA_FOLDER", tmp_path / "absent")
    check = next(check for check in doctor() if check.name == "CUDA toolkit")
    assert (check.status, check.found.partition(";")[0]) == ("ok", "none found")


def test_wrong_versions_and_broken_imports_are_failures_with_a_remedy(well):
    well["packages"]["torch"] = Package("1.0", 0)
    well["imports"]["xtuner"] = "ImportError: no mmengine"
    found = poor()
    assert found.keys() == {"versions", "xtuner"}
    assert "torch 1.0 instead of" in found["versions"].found
    assert {(check.status, check.remedy) for check in found.values()} == {("failure", "ftbridge setup")}


def test_wrong_versions_in_the_users_own_environment_are_a_warning(well, tmp_path):
    python = torch_environment(tmp_path / "own")
    settings = "".join(f"  {name}: {{python: {python}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    well["packages"]["torch"] = Package("1.0", 0)
    found = poor()["versions"]
    assert found.status == "warning"
    assert str(tmp_path / "own") in found.remedy


def test_an_environment_that_does_not_answer_is_a_failure(monkeypatch):
    def fail(*_):
        raise SetupError("no answer")

    monkeypatch.setattr(module, "inspect_environment", fail)
    assert poor()["environment"].found == "no answer"


@pytest.mark.parametrize(
    ("error", "status", "found"),
    [("", "ok", "installed"), ("ImportError: undefined symbol", "warning", "cannot be imported: ImportError")],
)
def test_flash_attention_is_imported_where_it_is_installed(well, tmp_path, error, status, found):
    (tmp_path / "ftbridge" / "training" / "site" / "flash_attn").mkdir()
    well["imports"]["flash_attn"] = error
    check = doctor()[-1]
    assert (check.name, check.status) == ("flash-attn", status)
    assert found in check.found


def test_a_full_disk_and_little_shared_memory_are_warnings(monkeypatch):
    usage = SimpleNamespace(free=2 * GIB, total=64 * 1024**2)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    found = poor()
    assert {name: check.status for name, check in found.items()} == {
        "shared memory": "warning",
        "disk for runs": "warning",
    }
    assert "--shm-size" in found["shared memory"].remedy


def test_the_hubs_get_a_request_without_credentials(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("://", "://user:secret@"))
    monkeypatch.delenv("MODELSCOPE_ENDPOINT")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", hub.url)
    found = {check.name: check.found for check in doctor()}
    assert found["Hugging Face"] == found["ModelScope"] == f"{hub.url}: is reachable"
    assert len(hub.asked) == 2
    assert {header for _, headers in hub.asked for header in headers} <= {
        "Accept-Encoding",
        "Host",
        "User-Agent",
        "Connection",
    }
    assert "secret" not in str(hub.asked)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "reached"), [(401, True), (404, True), (407, False), (503, False)])
def test_a_hub_that_refuses_was_reached_and_one_that_fails_is_a_warning(hub, status, reached):
    hub.status = status
    found = poor()
    assert found.keys() == (set() if reached else {"Hugging Face", "ModelScope"})


@pytest.mark.slow
def test_silent_hubs_are_waited_for_together(monkeypatch):
    monkeypatch.setattr(module, "HUB_TIMEOUT", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", url)
        start = time.monotonic()
        found = module._hub_checks()
        assert time.monotonic() - start < 3.9  # one after the other: 4 s
    assert [check.status for check in found] == ["warning", "warning"]
    for check, words in zip(found, (("HF_ENDPOINT", "ms://"), ("MODELSCOPE_ENDPOINT", "hf://")), strict=True):
        assert all(word in check.remedy for word in (*words, "local folder"))


@pytest.mark.slow
@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://127.0.0.1:9", "http://[", "mirror.example"])
def test_an_address_that_cannot_be_asked_is_a_warning(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert poor().keys() == {"Hugging Face"}


def test_a_second_environment_is_checked_where_it_is_there(tmp_path, well, monkeypatch):
    make_environment(tmp_path / "ftbridge" / "training-transformers4", "transformers4")
    second = torch_environment(tmp_path / "ftbridge" / "training-transformers4")
    asked = []
    monkeypatch.setattr(module, "inspect_environment", lambda python, _: asked.append(python) or Inspection(**well))
    doctor()
    assert [python.parents[1].name for python in asked] == ["training", "training-transformers4"]
    assert asked[1] == second


def test_caches_without_a_place_in_the_home_folder_are_told_with_that_which_they_have(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [*caches.places(), "HF_HOME", "XDG_CACHE_HOME"]:
        monkeypatch.delenv(name, raising=False)
    [check] = [check for check in doctor() if check.name == "caches"]
    assert (check.status, check.found.split()[:6]) == (
        "ok", ["models", "of", "Hugging", "Face", "in", f"{tmp_path}/.cache/huggingface/hub,"]
    )  # fmt: skip
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("MPLCONFIGDIR", "/proc/matplotlib")
    own, moved = [check for check in doctor() if check.name == "caches"]
    assert own.found == "MPLCONFIGDIR is `/proc/matplotlib`, which cannot be written"
    assert f"are in {tmp_path}/ftbridge-{os.geteuid()}/caches" in moved.found
    assert "HF_HUB_CACHE, " in moved.found
    assert "XDG_DATA_HOME" in moved.remedy
