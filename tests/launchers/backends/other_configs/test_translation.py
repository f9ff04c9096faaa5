"""Names that several programs' configs share."""

import pytest

from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.backends.other_configs.translation import OPTIMIZERS, Translation, deepspeed_name


def test_optimizers_become_those_that_there_are():
    field = next(each for each in TrainSpec.__annotations__.items() if each[0] == "optimizer")
    assert set(OPTIMIZERS.values()) == set(field[1].__origin__.__args__)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("examples/deepspeed/ds_z0_config.json", "none"),
        ("examples/deepspeed/ds_z2_config.json", "zero2"),
        ("examples/deepspeed/ds_z3_offload_config.json", "zero3-offload"),
        ("deepspeed_zero1", "zero1"),
        ("deepspeed_zero3_offload", "zero3-offload"),
        ("zero2-offload", "zero2-offload"),
        ("mine.json", "mine.json"),
    ],
)
def test_a_known_deepspeed_config_has_a_name(path, name):
    assert deepspeed_name(path) == name


def test_a_deepspeed_config_that_is_there_is_taken_as_it_is(tmp_path):
    file = tmp_path / "ds_z2_config.json"
    file.write_text("{}")
    assert deepspeed_name(str(file)) == str(file)


def test_a_long_value_is_shown_by_its_beginning():
    found = Translation("XTuner")
    found.leave_out("hooks", "x" * 99, "why")
    assert found.left_out == {f"hooks: {'x' * 40}...": "why"}
