"""Models in the caches of the hubs' clients: found without them, in each layout, and whole."""

import json

import pytest

from ftbridge.core.errors import InputError
from ftbridge.launchers.environment.model_cache import cached_model, commit_of, hub_name, is_hub_name
from ftbridge.launchers.environment.model_download import local_model

COMMIT = "a" * 40
# Where the versions of the clients put `own/er1.5`, below HF_HUB_CACHE or MODELSCOPE_CACHE, and how it is called then.
LAYOUTS = {
    "hf": (f"models--own--er1.5/snapshots/{COMMIT}", "own/er1.5"),
    "ms": ("models/own--er1.5/snapshots/master", "ms://own/er1.5"),
    "ms 1.37": ("hub/models/own/er1___5", "ms://own/er1.5"),
    "ms set": ("models/own/er1___5", "ms://own/er1.5"),
    "ms old": ("hub/own/er1___5", "ms://own/er1.5"),
    "ms oldest": ("own/er1.5", "ms://own/er1.5"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "MODELSCOPE_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


def model_in(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def refuse_python():
    raise AssertionError("no interpreter is needed where nothing is downloaded")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_a_cached_model_is_used_without_a_client(cache, tmp_path, monkeypatch, layout, variable):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(variable, "true")
    path, name = LAYOUTS[layout]
    folder = model_in(cache / path)
    assert local_model("own/er1.5", refuse_python, tmp_path) == folder
    assert local_model(name, refuse_python, tmp_path) == folder
    assert hub_name(folder) == name
    assert is_hub_name(name)


def test_offline_a_model_in_no_cache_is_one_sentence(cache, tmp_path):
    with pytest.raises(InputError) as refused:
        local_model("ms://own/er", refuse_python, tmp_path)
    assert str(refused.value) == (
        f"`own/er` is in no cache here (`{cache}`), and HF_HUB_OFFLINE=1 forbids a download: unset it, set HF_HOME or "
        "MODELSCOPE_CACHE to the cache that has it, or give the model's folder"
    )


def test_a_download_that_was_stopped_is_not_taken_for_a_model(cache):
    folder = model_in(cache / LAYOUTS["hf"][0])
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    assert cached_model("own/er1.5") is None
    assert cached_model("own/er1.5", weights=False) == folder
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"")
    assert cached_model("own/er1.5") == folder
    named = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "absent.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(named))
    assert cached_model("own/er1.5") is None


def test_what_modelscope_is_still_writing_is_not_taken(cache):
    model_in(cache / "models" / "._____temp" / "own" / "er")
    assert cached_model("own/er") is None


def test_the_revision_of_a_training_comes_before_a_newer_one(cache):
    snapshots = cache / "models--own--er" / "snapshots"
    older, newer = model_in(snapshots / "older"), model_in(snapshots / "newer")
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("newer")
    assert cached_model("own/er") == newer
    assert cached_model("own/er", commit=commit_of(older)) == older
    assert cached_model("own/er", commit="gone") == newer


@pytest.mark.parametrize("path", ["/models/qwen", "/home/ada/own/er", "models/snapshots/er"])
def test_a_folder_of_the_users_own_has_no_name_on_a_hub(cache, path):
    assert hub_name(cache.parent / path) == ""
