"""What the tests of samples share."""

import pytest

from ftbridge.adapters.convert.samples import workers
from ftbridge.adapters.sources.text import jsonl


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK", 50)
    monkeypatch.setattr(workers, "ROWS_AT_A_TIME", 3)
