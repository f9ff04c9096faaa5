"""What tells a model's files from others: all but where its base lies."""

import json

import pytest

from ftbridge.core.errors import InputError
from ftbridge.evaluation.answers.fingerprint import fingerprint
from ftbridge.launchers.runs.written_files import CARD


@pytest.fixture
def adapter(tmp_path):
    """Return the folder of an adapter."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": "/here"}))
    (folder / "adapter_model.safetensors").write_bytes(bytes(200_000))
    (folder / CARD).write_text("{}")
    return folder


def test_where_the_base_lies_and_what_is_no_part_of_the_model_does_not_count(adapter):
    before = fingerprint(adapter, None)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/there", "r": 8}))
    (adapter / CARD).write_text('{"base": "/there"}')
    (adapter / "README.md").write_text("mine")
    assert fingerprint(adapter) == before


@pytest.mark.parametrize("at", [0, 199_999])
def test_other_weights_and_other_settings_are_another_model(adapter, at):
    before = fingerprint(adapter)
    weights = bytearray(200_000)
    weights[at] = 1
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    changed = fingerprint(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 16}))
    assert len({before, changed, fingerprint(adapter)}) == 3


def test_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match="is gone"):
        fingerprint(tmp_path / "gone")
