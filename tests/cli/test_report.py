"""`ftbridge report` as it is typed."""

import json

import pytest

from tests.builders.evaluations import write_news


@pytest.fixture
def project(tmp_path):
    """Return a project with a run that was evaluated."""
    write_news(tmp_path, items=40)
    return tmp_path


def test_a_report_is_written_and_its_files_named(project, run_ftbridge):
    done = run_ftbridge("report", "news-lora", "--xlsx", "a.xlsx", "--markdown", "a.md", LC_ALL="C.UTF-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(project / "runs" / "news-lora" / "report.html"), "a.xlsx", "a.md"]
    assert "Better, and not by chance" in (project / "runs" / "news-lora" / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_the_language_is_chosen_and_files_are_told_as_json(project, run_ftbridge):
    done = run_ftbridge("report", "--language", "zh", "--out", "报告.html", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"html": "报告.html", "xlsx": None, "markdown": None}
    assert "变好了，而且不是偶然" in (project / "报告.html").read_text("utf-8")


@pytest.mark.slow
def test_what_is_not_there_ends_with_3_and_a_foreign_file_with_2(project, run_ftbridge):
    done = run_ftbridge("report", "nobody")
    assert (done.returncode, done.stdout) == (3, "")
    assert "there is no run or folder `nobody`" in done.stderr
    done = run_ftbridge("report", "news-lora", "--out", "ftbridge.yaml")
    assert done.returncode == 2
    assert "is not a report of ftbridge" in done.stderr
