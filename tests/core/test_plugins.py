"""Plugins: looked up by name, imported on use, and each with what its family promises."""

import sys
from importlib.metadata import EntryPoint

import pytest

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.plugins import Backend, Source, Target, _entries, load_backend, load_plugin, plugin_names
from ftbridge.core.records import Reading

PROTOCOLS = {"sources": Source, "targets": Target, "backends": Backend}
BUILT_IN = {
    "sources": ["arrow", "csv", "folder", "json", "jsonl", "parquet", "workbook"],
    "targets": ["alpaca", "xtuner"],
    "backends": ["llamafactory", "xtuner"],
}


@pytest.fixture
def installed(monkeypatch):
    """Return a function that makes (name, module) pairs the only plugins there are."""

    def install(*pairs):
        entries = [EntryPoint(name, value, "ftbridge.sources") for name, value in pairs]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: entries)
        _entries.cache_clear()

    _entries.cache_clear()
    yield install
    _entries.cache_clear()


def members(protocol):
    return {name for name in {*vars(protocol), *protocol.__annotations__} if not name.startswith("_")}


@pytest.mark.parametrize("family", PROTOCOLS)
def test_a_family_has_at_most_six_members_and_its_built_ins(family):
    assert 1 <= len(members(PROTOCOLS[family])) <= 6
    assert set(BUILT_IN[family]) <= set(plugin_names(family))
    assert plugin_names(family) == sorted(plugin_names(family))


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in BUILT_IN for name in plugin_names(family)])
def test_a_registered_plugin_loads_and_has_what_its_family_promises(family, name):
    plugin = load_plugin(family, name)
    protocol = PROTOCOLS[family]
    for member in members(protocol):
        kind = protocol.__annotations__.get(member)
        wanted = str if kind is str else (dict, type(None))
        assert isinstance(getattr(plugin, member), wanted) if kind else callable(getattr(plugin, member))


def test_a_backend_is_loaded_by_its_name():
    assert load_backend("xtuner").title == "XTuner"


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("backends", "xtunre", "there is no backend `xtunre`; choose from: llamafactory, xtuner"),
        ("sources", "", "there is no source ``; choose from: arrow, csv, folder, json, jsonl, parquet, workbook"),
        ("nothing", "a", "there is no nothing `a`; choose from: none is installed"),
    ],
)
def test_an_unknown_name_gets_the_known_ones(family, name, message):
    with pytest.raises(UsageError, match=message):
        load_plugin(family, name)


def test_two_of_one_name_are_refused_naming_both(installed):
    installed(("toml", "one.toml"), ("csv", "one.csv"), ("toml", "two.toml"))
    with pytest.raises(SetupError, match=r"`toml` in ftbridge.sources: `one.toml` and `two.toml`; uninstall"):
        plugin_names("sources")


def test_one_plugin_found_twice_is_one(installed):
    installed(("csv", "one.csv"), ("csv", "one.csv"))
    assert plugin_names("sources") == ["csv"]


def test_a_plugin_is_imported_when_it_is_used(installed, tmp_path, monkeypatch):
    (tmp_path / "a_csv_source.py").write_text("def detect(path, head): return True")
    monkeypatch.syspath_prepend(tmp_path)
    installed(("csv", "a_csv_source"), ("broken", "no_such_module"))
    assert plugin_names("sources") == ["broken", "csv"]
    assert "a_csv_source" not in sys.modules
    assert load_plugin("sources", "csv").detect(None, b"")
    del sys.modules["a_csv_source"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"delimiter": "::"}, r"`--delimiter` takes one character, or `tab`, .*; got '::'"),
        ({"delimiter": "\n"}, r"takes one character, .*; got '\\n'"),
        ({"quote": "both"}, r"`--quote` takes one character, such as `\"`, or `none`; got 'both'"),
        ({"quote": " "}, "takes one character, such as"),
        ({"quote": ";", "delimiter": "semicolon"}, "are both `;`"),
    ],
)
def test_what_can_stand_neither_between_nor_around_cells_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        Reading(**asked)


def test_delimiters_and_quotes_have_names():
    names = ["tab", "\\t", "\t", "comma", "semicolon", "pipe", "space", "^", ""]
    assert [Reading(delimiter=name).separator for name in names] == [*"\t\t\t,;| ^", ""]
    assert [Reading(quote=quote).quoting for quote in ("none", "'", "")] == ["", "'", None]
