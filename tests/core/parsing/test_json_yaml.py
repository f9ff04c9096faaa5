"""Values from the outside: checked once, with the closest name in the message."""

from typing import Any, Literal

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.parsing.json_yaml import PathText, closest, load_json, load_yaml, load_yaml_lines, parse, read_json


class Meal(msgspec.Struct):
    name: str
    guests: int = 1
    time: Literal["noon", "night"] = "noon"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "; did you mean `train`?"), ("x", "; known are: merge, train"), ("", "; known are: merge, train")],
)
def test_closest_word_or_else_all_known_ones_are_suggested(word, hint):
    assert closest(word, iter(["train", "merge"])) == hint


def test_values_become_a_record():
    assert parse(Meal, {"name": "tea", "guests": "2"}, "the table") == Meal("tea", 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "tea", "guest": 2}, "the table has an unknown key `guest`; did you mean `guests`?"),
        ({"guests": 2}, "the table: `name` is missing"),
        ({"name": "tea", "time": "\ud800"}, "the table: it holds half a surrogate pair"),
        ({"name": "tea", "guests": "two"}, "the table: `guests` takes a whole number; got `two`"),
    ],
)
def test_value_that_does_not_fit_is_refused_with_place_and_key(values, message):
    with pytest.raises(InputError, match=message):
        parse(Meal, values, "the table")


def test_yaml_gives_a_mapping_with_text_keys():
    assert load_yaml("a: 1\n2: [b]", "f") == {"a": 1, "2": ["b"]}
    assert load_yaml("# nothing\n", "f") == {}


@pytest.mark.parametrize("text", ["- a", "word", "3", "a: [", "a: !!python/object/apply:os.getcwd []", "\x00"])
def test_yaml_that_is_no_mapping_is_one_sentence(text):
    with pytest.raises(InputError, match=r"`ftbridge.yaml` (is not valid YAML|holds)"):
        load_yaml(text, "`ftbridge.yaml`")


@pytest.mark.parametrize(
    "value",
    [
        "2026-99-99",
        "2026-01-01T99:00:00Z",
        "2026-01-01T01:00:00+99:99",
        "9" * 5000,
        "0x" + "f" * 5000,
        "1" + ":59" * 3000,
        "!!int ''",
        "!!float x",
        "!!bool x",
        "!!timestamp x",
        "!!binary 'ÿ'",
        '"a\\0b"',
        "[" * 100_000,
        "{a: " * 900 + "1" + "}" * 900 + "}",
    ],
)
def test_yaml_with_an_impossible_date_or_number_is_one_sentence(value):
    with pytest.raises(InputError, match=r"`ftbridge.yaml` is not valid YAML: \S") as told:
        load_yaml(f"model: {value}\n", "`ftbridge.yaml`")
    assert len(str(told.value)) < 600


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [", 2),
        ("a: 1\n b: 2", 2),
        ("a: 1\n\tb: 2", 2),
        ("药: 1\nb\x00: 2", 2),
        ("a: 1\nb: 2026-99-99\nc: 3", 2),
        ("a: 1\nb:\n  - x\n  - {c: !!int ''}", 4),
        ("a: 1\nb: !!python/object/apply:os.getcwd []", 2),
        ("a: 1\n\nb: *x", 3),
    ],
)
def test_broken_yaml_is_told_with_its_line(text, line):
    with pytest.raises(InputError, match=f"^it is not valid YAML: line {line}: .*$"):
        load_yaml(text, "it")


def test_yaml_has_a_line_for_each_key():
    text = "# so\na: 1\n\n'b c': {d: 1}\n2: x"
    assert load_yaml_lines(text, "it")[1] == {"a": 2, "b c": 4, "2": 5}
    assert load_yaml_lines(text, "it", 2)[1] == {"a": 2, "b c": 4, "b c.d": 4, "2": 5}


def test_value_from_elsewhere_is_told_by_its_own_name():
    with pytest.raises(InputError, match=r"^`--guests` takes a whole number; got `two`$"):
        parse(Meal, {"name": "tea", "guests": "two"}, "the table", {"guests": "`--guests`"})


@pytest.mark.slow
def test_merges_of_merges_do_not_fill_the_memory():
    lines = ["a0: &a0 {" + ", ".join(f"k{number}: 1" for number in range(10)) + "}"]
    lines += [f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}" for level in range(1, 9)]
    with pytest.raises(InputError, match="merges"):
        load_yaml("\n".join(lines), "it")
    assert load_yaml("\n".join(lines[:2]), "it")["a1"]["k9"] == 1
    many = "\n".join(f"{number}: x" for number in range(20_000))
    assert len(load_yaml(many, "it")) == 20_000


NO_JSON = {
    b'{"a": "\xff"}': "not in UTF-8",
    b'{"\xff": 1}': "not in UTF-8",
    b'{"a": ' + b"[" * 100_000: "nested too deeply",
    b'{"a": ' + b"9" * 5000 + b"}": "out of range",
    b'{"a": 1e999}': "out of range",
    b'{"a": NaN}': "malformed",
    b'{"a": "\\ud800"}': r"\w",
    b"[1]": "it should be an object, not a list",
    b"": "truncated",
}


@pytest.mark.parametrize(("text", "why"), NO_JSON.items())
def test_broken_json_file_is_one_sentence(tmp_path, text, why):
    with pytest.raises(InputError, match=f"^the card: .*{why}"):
        load_json(text, dict[str, Any], "the card")
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config.json` (holds no JSON object: \S|is not in UTF-8)") as told:
        read_json(tmp_path / "config.json")
    assert len(str(told.value)) < 400


def test_json_becomes_a_record():
    assert load_json(b'{"name": "tea", "more": 1}', Meal, "it") == Meal("tea")
    with pytest.raises(InputError, match=r"^it: `guests` should be a whole number, not text$"):
        load_json('{"name": "tea", "guests": "two"}', Meal, "it")


class Place(msgspec.Struct):
    folder: PathText


def test_a_path_without_nul_is_taken():
    assert load_json(r'{"folder": "a\nb/药"}', Place, "it") == Place("a\nb/药")
    with pytest.raises(InputError, match="folder"):
        load_json(r'{"folder": "a\u0000b"}', Place, "it")


def test_yaml_that_refers_to_itself_is_refused():
    with pytest.raises(InputError, match="the table: "):
        parse(Meal, load_yaml("name: &a [*a]", "it"), "the table")
