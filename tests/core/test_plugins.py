"""Plugins: looked up by name, imported on use, and each with what its family promises."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.plugins import (
    REQUIRED,
    Backend,
    Source,
    Target,
    _entry_points,
    load_backend,
    load_plugin,
    plugin_names,
)
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
        _entry_points.cache_clear()

    _entry_points.cache_clear()
    yield install
    _entry_points.cache_clear()


# A backend's name comes from its entry point; the tests of Backend below are of what it need not have.
NEEDED = {"backends": {*REQUIRED}}


def members(family):
    protocol = PROTOCOLS[family]
    every = {name for name in {*vars(protocol), *protocol.__annotations__} if not name.startswith("_")}
    return NEEDED.get(family, every)


@pytest.mark.parametrize("family", PROTOCOLS)
def test_plugin_protocol_needs_at_most_seven_members_and_lists_its_built_ins(family):
    assert 1 <= len(members(family)) <= 7
    assert set(BUILT_IN[family]) <= set(plugin_names(family))
    assert plugin_names(family) == sorted(plugin_names(family))


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in BUILT_IN for name in plugin_names(family)])
def test_a_registered_plugin_loads_and_has_what_its_family_promises(family, name):
    plugin = load_plugin(family, name)
    protocol = PROTOCOLS[family]
    for member in members(family):
        kind = protocol.__annotations__.get(member)
        wanted = kind if kind in {str, Path} else (dict, type(None))
        assert isinstance(getattr(plugin, member), wanted) if kind else callable(getattr(plugin, member))


def test_a_backend_is_loaded_by_its_name():
    assert load_backend("xtuner").title == "XTuner"


@pytest.fixture
def small(installed, monkeypatch):
    """Return a backend whose module has what it needs and no more."""
    module = ModuleType("small_backend")
    vars(module).update(dict.fromkeys(REQUIRED, lambda *_: "its own"), title="Small")
    monkeypatch.setitem(sys.modules, "small_backend", module)
    installed(("small", "small_backend"))
    return load_backend("small")


def planned(**values):
    options = {"gradient_accumulation_steps": 4, "epochs": 2}
    return SimpleNamespace(spec=SimpleNamespace(**options), epoch_iterations=10, deepspeed={"a": 1}, **values)


def test_a_backend_that_lacks_a_member_is_named(small, monkeypatch):
    monkeypatch.delattr(sys.modules["small_backend"], "checkpoints")
    with pytest.raises(SetupError, match=r"the backend `small` \(small_backend\) has no `checkpoints`; docs/"):
        load_backend("small")


def test_backend_member_left_out_defaults_to_plain_transformers(small):
    assert (small.name, small.title, small.render(None)) == ("small", "Small", "its own")
    assert (small.packages, small.target, small.token_columns, small.drops_unlabelled) == ((), "", (), False)
    assert small.steps(planned()) == 6  # two times 10 / 4, rounded up
    assert small.deepspeed_config(planned()) == {"a": 1}
    assert small.environment_variables(planned()) == {}
    assert not small.loads_into_main_memory(planned())
    assert [small.weight_bytes(None, {"dtype": dtype}) for dtype in ("float32", "bfloat16", None)] == [4, 2, 2]
    assert small.weight_bytes(None, {"torch_dtype": "float32"}) == 4


@pytest.mark.parametrize(
    ("cutoff", "left"),
    [
        (99, [(3, 5), (2, 4)]),
        (13, [(3, 5), (2, 3)]),
        (9, [(3, 5), (1, 0)]),
        (4, [(3, 1), (0, 0)]),
        (2, [(2, 0), (0, 0)]),
    ],
)
def test_default_cutoff_drops_the_end_of_a_sample(small, cutoff, left):
    assert list(small.truncate_turns([(3, 5), (2, 4)], cutoff)) == left


@pytest.mark.parametrize(
    ("name", "step"), [("checkpoint-12", 12), ("iter_7.pth", 7), ("output", None), ("model.safetensors", None)]
)
def test_the_step_of_a_checkpoint_is_the_number_its_name_ends_with(small, name, step):
    assert small.checkpoint_step(Path("run", name), 4) == step


STATE = {"trainer_state.json": '{"global_step": 3}', "rng_state_0.pth": "", "rng_state_1.pth": ""}
SHARD = "global_step3/zero_pp_rank_{}_mp_rank_00_optim_states.pt"


@pytest.mark.parametrize(
    ("files", "whole"),
    [
        ({**STATE, "optimizer.pt": ""}, True),
        ({**STATE, SHARD.format(0): "", SHARD.format(1): ""}, True),
        ({**STATE, SHARD.format(0): ""}, False),
        (STATE, False),
        ({**STATE, "optimizer.pt": "", "trainer_state.json": "{"}, False),
        ({"optimizer.pt": "", "rng_state_0.pth": "", "rng_state_1.pth": ""}, False),
        ({**STATE, "optimizer.pt": "", "rng_state_2.pth": ""}, False),
    ],
)
def test_a_checkpoint_of_the_trainer_goes_on_where_nothing_is_missing(small, tmp_path, files, whole):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert small.can_resume(tmp_path, 2) is whole


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("backends", "xtunre", "there is no backend `xtunre`; did you mean `xtuner`?"),
        ("targets", "sharegtp", "there is no target `sharegtp`; did you mean `sharegpt`?"),
        ("sources", "", "there is no source ``; known are: arrow, csv, folder, json, jsonl, parquet, workbook"),
        ("nothing", "a", "there is no nothing `a`; none is installed"),
    ],
)
def test_an_unknown_name_gets_the_known_ones(family, name, message):
    with pytest.raises(UsageError, match=message):
        load_plugin(family, name)


def test_two_plugins_of_one_name_are_refused_naming_both(installed):
    installed(("toml", "one.toml"), ("csv", "one.csv"), ("toml", "two.toml"))
    with pytest.raises(SetupError, match=r"`toml` in ftbridge.sources: `one.toml` and `two.toml`; uninstall"):
        plugin_names("sources")


def test_plugin_found_twice_under_one_name_counts_once(installed):
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
def test_unusable_delimiter_or_quote_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        Reading(**asked)


def test_delimiters_and_quotes_have_names():
    names = ["tab", "\\t", "\t", "comma", "semicolon", "pipe", "space", "^", ""]
    assert [Reading(delimiter=name).separator for name in names] == [*"\t\t\t,;| ^", ""]
    assert [Reading(quote=quote).quoting for quote in ("none", "'", "")] == ["", "'", None]
