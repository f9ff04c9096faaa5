"""Trackers: offline without a key, into the run's folder, and a word where one is missing."""

import json
import os
import shlex
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import SetupError
from ftbridge.launchers.backends import trackers
from ftbridge.launchers.environment.venv import default_folder

from ...builders.plans import plan  # noqa: TID252

KEYS = {"WANDB_API_KEY": "WANDB_MODE", "SWANLAB_API_KEY": "SWANLAB_MODE"}


def test_trackers_without_a_key_write_into_the_runs_folder(monkeypatch):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    env = trackers.environment_variables(plan(track=("tensorboard", "wandb", "swanlab")))
    assert (env["WANDB_MODE"], env["SWANLAB_MODE"]) == ("offline", "local")
    assert (env["WANDB_DIR"], env["SWANLAB_LOGDIR"]) == ("/runs/faq/tracking/wandb", "/runs/faq/tracking/swanlab")
    assert trackers.environment_variables(plan()) == {}


def test_folders_that_trackers_wrote_are_found(tmp_path):
    assert trackers.tracker_records(tmp_path) == {}
    (tmp_path / "tracking" / "swanlab").mkdir(parents=True)
    assert trackers.tracker_records(tmp_path) == {"swanlab": tmp_path / "tracking" / "swanlab"}


@pytest.mark.framework
def test_a_local_record_of_swanlab_is_shown_by_the_training_environment(training_python, tmp_path):
    logged = "import swanlab; swanlab.init(project='faq', mode='local', logdir='logs'); swanlab.log({'loss': 1.5})"
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([training_python, "-c", logged], env=home, cwd=tmp_path, check=True)
    command = shlex.split(trackers.viewer("swanlab", tmp_path / "logs", training_python))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([*command, "--port", str(port)], env=home, cwd=tmp_path) as page:
        try:
            project = wait_for_page(f"http://127.0.0.1:{port}/api/v1/project")
        finally:
            page.terminate()
    assert project["data"]["name"] == "faq"


def wait_for_page(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _second in range(60):
        try:
            return json.load(opener.open(url, timeout=5))
        except OSError:
            time.sleep(1)
    raise TimeoutError(url)


def test_tracker_with_a_key_goes_online_and_the_key_is_not_passed_on(monkeypatch):
    for key in KEYS:
        monkeypatch.setenv(key, "a-secret")
    env = trackers.environment_variables(plan(track=("wandb", "swanlab")))
    assert (env["WANDB_MODE"], env["SWANLAB_MODE"]) == ("online", "cloud")
    assert "a-secret" not in str(env)


@pytest.mark.parametrize(
    ("dataset", "project"), [("medqa-train", "medqa-train"), ("药品", "ftbridge"), ("a/b", "ftbridge")]
)
def test_a_project_is_called_as_the_dataset_where_it_may(dataset, project):
    assert trackers.project_name(msgspec.structs.replace(plan(), dataset=dataset)) == project


@pytest.mark.parametrize(
    ("python", "command"),
    [
        (default_folder() / "bin" / "python", "ftbridge setup"),
        (Path("/own/python"), "uv pip install --python /own/python"),
    ],
)
def test_a_missing_tracker_comes_with_its_command(monkeypatch, python, command):
    monkeypatch.setattr(trackers, "installed_versions", lambda _: {"wandb": "1"})
    trackers.check_installed(python, ("wandb",))
    with pytest.raises(SetupError, match=f"`--track swanlab` needs the package swanlab.*{command}"):
        trackers.check_installed(python, ("wandb", "swanlab"))
