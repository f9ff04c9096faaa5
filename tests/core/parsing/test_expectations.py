"""What a field takes, in plain words."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from ftbridge.core.parsing.expectations import wrong_value


class Inner(msgspec.Struct):
    depth: int


class Kettle(msgspec.Struct):
    cups: Annotated[Annotated[int, Meta(ge=1, lt=1 << 31)] | None, Meta(description="How many.")] = None
    share: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    heat: Annotated[float, Meta(gt=0, le=1.7e308)] = 1
    kind: Literal["black", "green"] = "green"
    one: Literal[4] = 4
    lid: bool = True
    name: str = ""
    milk: int | Literal["all"] = "all"
    words: tuple[Literal["a", "b"], ...] = ()
    more: dict[str, str] = {}
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    either: Inner | int = 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cups", -3, "takes a whole number of at least 1; got `-3`"),
        ("cups", 1 << 31, "takes a whole number of at least 1 and below 2147483648; got `2147483648`"),
        ("cups", 1.5, "takes a whole number of at least 1; got `1.5`"),
        ("share", 1, "takes a number of at least 0 and below 1; got `1`"),
        ("share", "half", "takes a number of at least 0 and below 1; got `half`"),
        ("heat", 0, "takes a number above 0; got `0`"),
        ("heat", float("nan"), "takes a number above 0; got `nan`"),
        ("heat", float("inf"), "takes a number above 0 and of at most 1.7e+308; got `inf`"),
        ("heat", None, "takes a number above 0; got nothing"),
        ("kind", "red", "takes `black` or `green`; got `red`"),
        ("one", 5, "takes `4`; got `5`"),
        ("lid", "perhaps", "takes true or false; got `perhaps`"),
        ("name", True, "takes text; got `true`"),
        ("milk", 1.5, "takes a whole number or `all`; got `1.5`"),
        ("heat", 0.0, "takes a number above 0; got `0`"),
        ("heat", -0.25, "takes a number above 0; got `-0.25`"),
        ("words", ("a", "c"), "takes a list of `a` or `b`; got `a,c`"),
        ("words", "a", "takes a list of `a` or `b`; got `a`"),
        ("more", 3, "takes `key: value` lines; got `3`"),
        ("name", ["药"] * 99, f"takes text; got `{str(['药'] * 99)[:80]}...`"),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_is_taken(field, value, words):
    assert wrong_value(Kettle, {"share": 0.1, field: value}) == (field, words)


DEEPER = [{"inner": {"depth": "x"}}, {"inners": [{"depth": "x"}]}, {"more": {"a": [1]}}, {"either": {"depth": "x"}}]


@pytest.mark.parametrize("values", [{}, {"cups": "3", "lid": True}, *DEEPER, {"unknown": 1}])
def test_what_fits_or_has_no_plain_words_is_not_told(values):
    assert wrong_value(Kettle, values) == ("", "")
