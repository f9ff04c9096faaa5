import json

import pytest

from ..builders.sweeps import write_sweep  # noqa: TID252


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Return a project's folder with a sweep that is done but for one point that failed."""
    folder = tmp_path_factory.mktemp("swept")
    write_sweep(folder, failed={(0, 1)}, items=20, seeds=(1, 2))
    return folder


def test_show_prints_the_table_best_first_and_what_failed(swept, run_ftbridge):
    done = run_ftbridge("sweep", "show", cwd=swept)
    assert done.returncode == 0, done.stderr
    header, first, *_, last = done.stdout.split("\n\n")[0].splitlines()
    assert header.split()[:4] == ["status", "sample", "backend", "accuracy"]
    assert header.split()[-4:] == ["seeds", "samples", "loss", "time"]
    assert first.split()[0] == "done"
    assert first.split()[3] > last.split()[3]
    assert "sample=100, backend=xtuner, seed 1: the disk is full" in done.stdout


def test_show_writes_json_csv_and_a_workbook(swept, run_ftbridge):
    files = ["--csv", "a.csv", "--xlsx", "b.xlsx"]
    done = run_ftbridge("sweep", "show", "sizes", "--metric", "macro_f1", "--json", *files, cwd=swept)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["name"], found["metric"], len(found["rows"])) == ("sizes", "macro_f1", 8)
    assert (swept / "a.csv").read_text(encoding="utf-8-sig").startswith("sample,backend,macro_f1,")
    assert (swept / "b.xlsx").read_bytes().startswith(b"PK")


def test_report_knows_a_sweep_by_its_name(swept, run_ftbridge):
    done = run_ftbridge("report", "sizes", cwd=swept)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(swept / "sweeps" / "sizes" / "report.html")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--grid", "lora_rank="], "takes an option and its values"),
        (["--seeds", "1"], "what should vary?"),
        (["--grid", "lora_rank=8,8"], "points 1 and 2 are the same"),
        (["--grid", "lora_rank=8", "--seeds", "a"], "`--seeds` takes whole numbers"),
        (["--grid", "lora_rank=8", "--name", "a b"], "is not a valid name for a sweep"),
        (["nothing.yaml"], "there is no sweep at `nothing.yaml`"),
        (["show", "nothing"], "there is no sweep `nothing`; known are: sizes"),
        (["show", "--metric", "bleu"], "nothing was measured by `bleu`"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(swept, run_ftbridge, arguments, told):
    done = run_ftbridge("sweep", *arguments, cwd=swept)
    assert done.returncode in {2, 3}
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_many_points_are_asked_about_with_the_command_to_type(swept, run_ftbridge):
    grid = ["--grid", f"lora_rank={','.join(map(str, range(1, 101)))}", "--grid", "train.seed=1,2,3"]
    done = run_ftbridge("sweep", *grid, cwd=swept)
    assert done.returncode == 2
    assert "error: this sweep has 300 points" in done.stderr
    assert done.stderr.rstrip().endswith("--max-points 300")


def test_the_help_is_that_of_the_group_and_of_run(run_ftbridge):
    assert "show" in run_ftbridge("sweep", "--help").stdout
    assert "--parallel" in run_ftbridge("sweep", "run", "--help").stdout
