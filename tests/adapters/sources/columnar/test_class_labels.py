"""Class labels and their names."""

import json

import msgspec
import pytest

from ftbridge.adapters.sources.columnar.class_labels import (
    labels_in_card,
    labels_in_features,
    labels_in_metadata,
    put_label_names,
)

LABEL = {"names": ["neg", "pos"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "feature",
    [
        LABEL,
        [LABEL],
        {"feature": LABEL, "_type": "Sequence"},
        {"feature": {"feature": LABEL, "_type": "List"}, "_type": "List"},
    ],
)
def test_class_label_names_are_found_in_features_and_metadata(feature):
    assert labels_in_features({"label": feature, "text": {"dtype": "string", "_type": "Value"}}) == {
        "label": ("neg", "pos")
    }
    metadata = {b"huggingface": json.dumps({"info": {"features": {"label": feature}}}).encode()}
    assert labels_in_metadata(metadata) == {"label": ("neg", "pos")}


@pytest.mark.parametrize("names", [5, "ab", None, [], {}])
def test_malformed_class_label_names_are_left_aside(names):
    assert labels_in_features({"label": {"names": names, "_type": "ClassLabel"}}) == {}
    assert labels_in_card([{"name": "label", "dtype": {"class_label": {"names": names}}}]) == {}
    assert labels_in_card([{"name": "label", "dtype": {"class_label": names}}]) == {}


def test_features_without_end_have_no_names():
    feature = LABEL
    for _ in range(5000):
        feature = {"feature": feature}
    assert labels_in_features({"label": feature}) == {}


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        *({b"huggingface": text} for text in (b"{", b'{"info": null}', b"\xff", b'{"a": "\xff"}', b"[" * 5000, b"5")),
    ],
)
def test_metadata_without_features_gives_no_label_names(metadata):
    assert labels_in_metadata(metadata) == {}


def test_names_of_a_card_are_in_the_order_of_their_numbers():
    names = {str(number): f"class {number}" for number in (10, 2, 1, 0, 9, 8, 7, 6, 5, 4, 3)}
    features = [
        {"name": "label", "dtype": {"class_label": {"names": names}}},
        {"name": "tags", "sequence": {"class_label": {"names": ["O", "B"]}}},
        {"name": "text", "dtype": "string"},
        {"name": "answers", "sequence": [{"name": "text", "dtype": "string"}]},
    ]
    assert labels_in_card(features) == {"label": tuple(f"class {number}" for number in range(11)), "tags": ("O", "B")}


@pytest.mark.parametrize(
    ("label", "named"),
    [
        (1, "pos"),
        ("1", "pos"),
        (msgspec.Raw(b"0"), "neg"),
        ("pos", "pos"),
        ([1, None, 0], ["pos", None, "neg"]),
        (-1, None),
        (None, None),
        ("unknown", "unknown"),
        (float("inf"), float("inf")),
    ],
)
def test_a_number_becomes_a_name(label, named):
    values = {"label": label, "text": "x"}
    assert not put_label_names(values, {"label": ("neg", "pos"), "other": ("a",)})
    assert values == {"label": named, "text": "x"}


def test_a_number_without_a_name_is_an_error():
    assert (
        put_label_names({"label": 2}, {"label": ("neg", "pos")})
        == "holds the label 2 in `label`, which has names for 0 to 1"
    )
