"""Entries spliced into JSON, and taken out of it: every other byte stays."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ftbridge.dataset_info.json_text import insert_entries, remove_entries

VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)
OBJECT = st.dictionaries(st.text(), VALUE, max_size=5)
# Indent, newline, and whether anything is escaped: as people and programs write it.
LAYOUT = st.tuples(st.sampled_from([None, 0, 1, 2, 4, "\t"]), st.sampled_from(["\n", "\r\n"]), st.booleans())


def laid_out(value, layout):
    indent, newline, ascii_only = layout
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).replace("\n", newline) + newline


@given(OBJECT, LAYOUT, st.text(), VALUE)
def test_value_put_into_json_text_is_there_and_the_rest_stays(known, layout, name, value):
    text = laid_out(known, layout)
    new = insert_entries(text, {name: value})
    assert json.loads(new) == known | {name: value}
    if name in known:
        before = text.index(json.dumps(name, ensure_ascii=layout[2])) if len(known) == 1 else 0
        assert new[:before] == text[:before]
    elif known:
        assert remove_entries(new, [name]) == text
        assert list(json.loads(new)) == [*known, name]
    else:
        assert json.loads(remove_entries(new, [name])) == {}


@given(OBJECT.filter(bool), LAYOUT, st.data())
def test_name_taken_out_of_json_text_is_gone_and_the_rest_stays(known, layout, data):
    names = data.draw(st.lists(st.sampled_from(list(known)), unique=True))
    left = remove_entries(laid_out(known, layout), names)
    assert json.loads(left) == {name: value for name, value in known.items() if name not in names}
