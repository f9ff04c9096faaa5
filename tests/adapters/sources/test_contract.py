"""What every source promises, those of other packages as well."""

import pickle
from importlib.metadata import EntryPoint, entry_points

import pytest

from ftbridge.adapters.sources.detection import open_path, source_of
from ftbridge.adapters.values import BadCell, decode_raw
from ftbridge.core.errors import InputError
from ftbridge.core.plugins import _entry_points, load_plugin, plugin_names
from ftbridge.core.records import Reading, moved

from ...builders import qa_source  # noqa: TID252
from ...builders.sources import EXAMPLES  # noqa: TID252

READING = Reading()
ROWS = [{"question": f"why {number}?", "answer": "so"} for number in range(3)]
# Enough for a source that cuts its files to cut this one.
MANY = [{"question": f"why {number}? " + "为什么" * 40, "answer": f"so\t{number}"} for number in range(5000)]
NAMES = sorted({*plugin_names("sources"), "qa"})


@pytest.fixture(autouse=True)
def other_package(monkeypatch):
    """Install a source of another package beside those that are there."""
    there = [*entry_points(group="ftbridge.sources"), EntryPoint("qa", qa_source.__name__, "ftbridge.sources")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: there)
    _entry_points.cache_clear()
    yield
    _entry_points.cache_clear()


@pytest.fixture(params=NAMES)
def name(request):
    assert request.param in EXAMPLES, "a source needs an example in tests/builders/sources.py"
    return request.param


def good(folder, name, rows=ROWS):
    """Write the good file of a source."""
    path = folder / EXAMPLES[name].file
    EXAMPLES[name].write(path, rows)
    return path


def files(path):
    return [*path.iterdir()] if path.is_dir() else [path]


def values(rows):
    return [{key: decode_raw(value) for key, value in row.values.items()} for row in rows]


def test_a_good_file_is_its_sources_and_gives_its_rows(folder, name):
    path = good(folder, name)
    assert source_of(path) is load_plugin("sources", name)
    (table,) = open_path(path, READING)
    assert table.columns == ("question", "answer")
    assert values(table.first) == values(table.rows()) == ROWS


def test_a_file_of_another_source_is_left_to_it(folder, name):
    (folder / "noise").write_bytes(bytes(range(256)))
    others = [good(folder, other) for other in NAMES if other != name]
    for path in [folder / "noise", *others]:
        head = path.read_bytes()[:4096] if path.is_file() else b""
        assert not load_plugin("sources", name).detect(path, head), path


def test_a_damaged_file_is_one_sentence_that_names_it(folder, name):
    path = good(folder, name)
    (file,) = files(path)
    file.write_bytes(EXAMPLES[name].damage(file.read_bytes()))
    with pytest.raises(InputError) as raised:
        values(open_path(path, READING)[0].rows())
    assert file.name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_empty_file_is_one_sentence_that_names_it(folder, name):
    path = good(folder, name)
    (file,) = files(path)
    file.write_bytes(b"")
    for opened in (lambda: open_path(path, READING), lambda: load_plugin("sources", name).open_tables(path, READING)):
        with pytest.raises(InputError, match=r"^[^\n]*empty[^\n]*$") as raised:
            opened()
        assert file.name in str(raised.value)


def test_a_row_that_cannot_be_read_has_its_address_and_others_are_read(folder, name):
    path = folder / EXAMPLES[name].file
    EXAMPLES[name].unreadable(path)
    (table,) = open_path(path, READING)
    rows = list(table.rows())
    bad = [row for row in rows if row.error or any(isinstance(value, BadCell) for value in row.values.values())]
    assert [str(row.where) for row in bad] == [EXAMPLES[name].address]
    assert len(rows) > 1


def test_rows_read_in_pieces_are_those_read_at_once(folder, name):
    path = good(folder, name, MANY)
    whole = list(open_path(path, READING)[0].rows())
    assert values(whole) == MANY
    (table,) = open_path(path, READING)
    pieces = list(table.pieces)
    assert (len(pieces) > 1) == table.cut
    if table.cut:  # they are values, and need not be read in order
        pieces = pickle.loads(pickle.dumps(pieces))
        read = [list(piece.rows()) for piece in reversed(pieces)][::-1]
    else:
        read = [list(piece.rows()) for piece in pieces]
    before, rows = 0, []
    for each in read:
        rows += [moved(row, before) for row in each]
        before = rows[-1].where.row
    assert rows == whole


def test_sheets_are_refused_where_a_file_has_none(folder, name):
    if name == "workbook":
        assert open_path(good(folder, name), Reading(sheets=("Q",)))
        return
    with pytest.raises(InputError, match="sheet"):
        open_path(good(folder, name), Reading(sheets=("Q",)))
