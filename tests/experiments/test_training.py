from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.project import Project, Settings
from ftbridge.experiments.training import first_line, given_options, plan_training, prepare_planned

from ..builders import checkpoints  # noqa: TID252
from ..builders.models import write_model, write_tensors  # noqa: TID252
from ..builders.runs import record_run  # noqa: TID252

ALPACA = '{"instruction": "who", "output": "me"}\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Stand in a project with a dataset of somebody else's and a small model."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("base"))
    Path("data").mkdir()
    Path("data/faq.jsonl").write_text(ALPACA)
    Path("data/dataset_info.json").write_text('{"faq": {"file_name": "faq.jsonl"}}')
    return Project(tmp_path, Settings())


def planned(project, **options):
    return plan_training(project, {"backend": "xtuner", "model": "base", "dataset": "faq", **options})


def test_a_training_is_known_by_what_decides_its_result(project):
    first = planned(project)
    assert first.key == planned(project, lora_rank=64).key  # the default

    other = planned(project, lora_rank=8)
    assert other.key != first.key

    Path("data/faq.jsonl").write_text(ALPACA * 2)
    changed = planned(project)
    assert changed.key != first.key


def test_where_base_and_data_lie_does_not_count_and_what_they_hold_does(project):
    first = planned(project)
    Path("base").rename("moved")
    assert planned(project, model="moved").key == first.key
    write_tensors(Path("moved/model.safetensors"), {"lm_head.weight": (6, 4)})
    changed = planned(project, model="moved")
    assert changed.key != first.key


def test_the_options_of_a_training_come_back_as_they_were_given(project):
    spec = planned(project, lora_rank=8, track=("swanlab",), seed=3).spec
    given = given_options(spec)
    assert {"lora_rank": 8, "track": ("swanlab",), "seed": 3, "backend": "xtuner"}.items() <= given.items()
    assert "epochs" not in given
    assert planned(project, **given).spec == spec


def test_what_was_left_without_a_record_is_not_gone_on_from(project, capsys):
    now = planned(project, save_steps=1)
    before = record_run(project, "killed", "failed", save_steps=1)
    (before.path / "output").mkdir()
    checkpoints.xtuner(before.path / "output" / "iter_1.pth", checkpoints.LORA)
    Path("data/faq.jsonl").unlink()  # so that no other training begins here
    with pytest.raises(InputError, match=r"faq\.jsonl"):
        prepare_planned(now, before)
    assert "note: killed is trained from the start: it was killed before" in capsys.readouterr().err


def test_what_is_wrong_stands_in_one_line():
    assert first_line(ValueError("it failed\nand more")) == "it failed"
    assert first_line(ValueError("this would fail:\n  disk space: 3 MB\n  more")) == "this would fail: disk space: 3 MB"
    assert first_line(ValueError()) == ""
