"""Projects with runs and evaluations, made up."""

import pytest

from ftbridge.core.project import Project
from tests.builders.evaluations import write_news


@pytest.fixture
def news(tmp_path, monkeypatch):
    """Stand in a project with the run `news-lora` and its evaluation, and return it."""
    monkeypatch.chdir(tmp_path)
    write_news(tmp_path, items=60)
    return Project.find(tmp_path)
