import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.project import Project, Settings
from ftbridge.evaluation.sweep.record import Point, Sweep, find_sweep, load_sweep, shown_value


def written(folder, name, values=(("lora_rank", 8),), day=1):
    place = folder / "sweeps" / name
    made = Sweep(
        name=name,
        folder=str(place),
        varied=("lora_rank",),
        points=(Point(values=dict(values), seed=2),),
        created=datetime(2026, 11, day, tzinfo=UTC),
        version="0.1.0",
    ).save()
    os.utime(place / "sweep.json", (day, day))
    return made


def test_a_sweep_is_found_by_name_folder_and_file_or_is_the_one_worked_on_last(tmp_path):
    project = Project(tmp_path, Settings())
    with pytest.raises(InputError, match="there is no sweep in"):
        find_sweep(project)
    first, last = written(tmp_path, "大小", day=2), written(tmp_path, "rank", day=3)
    assert find_sweep(project) == last
    for named in ("大小", tmp_path / "sweeps/大小", tmp_path / "sweeps/大小/sweep.json"):
        assert find_sweep(project, named) == first
    with pytest.raises(InputError, match="no sweep `rang`; did you mean `rank`"):
        find_sweep(project, "rang")
    with pytest.raises(InputError, match=r"there is no `sweep\.json` in"):
        load_sweep(tmp_path)


def test_a_sweep_may_be_moved(tmp_path):
    written(tmp_path, "rank")
    Path(tmp_path / "sweeps").rename(tmp_path / "elsewhere")
    assert load_sweep(tmp_path / "elsewhere" / "rank").path == (tmp_path / "elsewhere" / "rank").resolve()


def test_a_damaged_record_is_told(tmp_path):
    written(tmp_path, "rank")
    (tmp_path / "sweeps/rank/sweep.json").write_text('{"name": 3}')
    with pytest.raises(InputError, match="is damaged; delete it"):
        load_sweep(tmp_path / "sweeps/rank")


def test_values_are_shown_as_they_are_typed():
    values = {"a": True, "b": 1e-4, "c": ("q_proj", "v_proj"), "d": "好", "e": 8}
    assert [shown_value(each) for each in values.values()] == ["on", "0.0001", "q_proj,v_proj", "好", "8"]
    assert Point(values=values, seed=3).title == "a=on, b=0.0001, c=q_proj,v_proj, d=好, e=8, seed 3"
