"""Values from the outside: checked once, with the closest name in the message."""

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.strict import closest, load_yaml, parse


class Meal(msgspec.Struct):
    name: str
    guests: int = 1


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "; did you mean `train`?"), ("x", "; known are: merge, train"), ("", "; known are: merge, train")],
)
def test_the_closest_word_is_named(word, hint):
    assert closest(word, iter(["train", "merge"])) == hint


def test_values_become_a_record():
    assert parse(Meal, {"name": "tea", "guests": "2"}, "the table") == Meal("tea", 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "tea", "guest": 2}, "the table has an unknown key `guest`; did you mean `guests`?"),
        ({"guests": 2}, "the table: Object missing required field `name`"),
        ({"name": "tea", "guests": "two"}, r"the table: Expected `int`, got `str` - at `\$.guests`"),
    ],
)
def test_what_does_not_fit_names_place_and_key(values, message):
    with pytest.raises(InputError, match=message):
        parse(Meal, values, "the table")


def test_yaml_gives_a_mapping_with_text_keys():
    assert load_yaml("a: 1\n2: [b]", "f") == {"a": 1, "2": ["b"]}
    assert load_yaml("# nothing\n", "f") == {}


@pytest.mark.parametrize("text", ["- a", "word", "3", "a: [", "a: !!python/object/apply:os.getcwd []", "\x00"])
def test_other_yaml_is_one_sentence(text):
    with pytest.raises(InputError, match=r"`ftbridge.yaml` (is not valid YAML|holds)"):
        load_yaml(text, "`ftbridge.yaml`")
