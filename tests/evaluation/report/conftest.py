"""Projects with runs, evaluations and sweeps, made up."""

import pytest

from ftbridge.core.project import Project
from ftbridge.evaluation.sweep.record import find_sweep
from tests.builders.evaluations import write_news
from tests.builders.sweeps import write_sweep


@pytest.fixture
def news(tmp_path, monkeypatch):
    """Stand in a project with the run `news-lora` and its evaluation, and return it."""
    monkeypatch.chdir(tmp_path)
    write_news(tmp_path, items=60)
    return Project.find(tmp_path)


@pytest.fixture(scope="session")
def project_of_sizes(tmp_path_factory):
    """Return a folder with the sweep `sizes`: four sizes, two backends, three seeds, and one setting that failed."""
    folder = tmp_path_factory.mktemp("sizes")
    write_sweep(folder, failed={(0, 1), (0, 2), (0, 3)}, items=120)
    return folder


@pytest.fixture
def sizes(project_of_sizes, monkeypatch):
    """Stand in the project of the sweep `sizes`, which is read alone, and return the sweep."""
    monkeypatch.chdir(project_of_sizes)
    return find_sweep(Project.find(), "sizes")
