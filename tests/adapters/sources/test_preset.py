"""Presets as sources: made here, fetched from a hub, or refused with where to get the file."""

import sys
from itertools import chain
from types import SimpleNamespace

import pytest

from ftbridge.adapters.sources.preset import open_preset
from ftbridge.core.errors import UsageError
from ftbridge.core.records import Reading
from ftbridge.dataset_info.presets import load_preset

SAID = {"name": "小助", "author": "某某团队"}


def test_self_cognition_is_a_table():
    (table,) = open_preset("self-cognition", SAID, Reading())
    rows = list(chain.from_iterable(piece.rows() for piece in table.pieces))
    assert table.file == "preset:self-cognition"
    assert set(table.columns) == set(load_preset("self-cognition").sample)
    assert rows[:100] == list(table.first)
    assert [row.where.row for row in rows] == list(range(1, len(rows) + 1))
    assert str(rows[2].where) == "preset:self-cognition row 3"
    assert rows[0].values == {"instruction": "你是谁？", "output": "我是小助，由某某团队开发的人工智能助手。"}


def test_languages_and_a_count_can_be_set():
    (table,) = open_preset("self-cognition", {**SAID, "languages": "en, zh", "count": "20"}, Reading())
    assert len(table.first) == 20
    assert table.first[0].values["instruction"] == "Who are you?"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("self-cognition", {}, "--set name=… --set author=…"),
        ("self-cognition", {"name": "A"}, "--set name=… --set author=…"),
        ("self-cognition", {**SAID, "auther": "B"}, "no setting `auther`; did you mean `author`"),
        ("self-cognition", {**SAID, "count": "-1"}, "whole number, as in `--set count=100`; got `-1`"),
        ("self-cognition", {**SAID, "count": "9" * 5000}, "whole number"),
        ("self-cognition", {**SAID, "languages": ""}, "does not speak ``; known are: en, zh"),
        ("self-cogniton", SAID, "did you mean `self-cognition`"),
        ("patents", {"name": "A"}, "the preset `patents` has no setting `name`; leave `--set` out"),
        ("medqa", {}, "from https://github.com/abachaa/.* `ftbridge convert FILE --preset medqa`"),
    ],
)
def test_wrong_preset_settings_are_refused_with_what_is_expected(name, settings, message):
    with pytest.raises(UsageError, match=message):
        open_preset(name, settings, Reading())


def test_preset_of_a_hub_is_opened_by_its_url(monkeypatch):
    opened = SimpleNamespace(open_url=lambda url, reading: [url, reading])
    monkeypatch.setitem(sys.modules, "ftbridge.adapters.sources.repository.hub", opened)
    reading = Reading(encoding="utf-8")
    assert open_preset("patents", {}, reading) == ["hf://ccdv/patent-classification:abstract", reading]
