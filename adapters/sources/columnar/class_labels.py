"""Class labels: the names that Hugging Face's datasets keep for whole numbers.

They stand in dataset_info.json and in the metadata of parquet and arrow files, as
`{"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}`, and in the front matter of a README.md, as
`- name: label, dtype: {class_label: {names: {"0": neg, "1": pos}}}`.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from ftbridge.adapters.values import decode_raw
from ftbridge.language import gettext as _

# The names of each column that has them.
Labels = dict[str, tuple[str, ...]]


def labels_in_features(features: Any) -> Labels:
    """Return the names in `features` as dataset_info.json and file metadata hold them."""
    items = features.items() if isinstance(features, Mapping) else ()
    with suppress(RecursionError):  # nested as no feature is
        return {column: names for column, feature in items if (names := _names_in_feature(feature))}
    return {}


def labels_in_card(features: Iterable[Mapping[str, Any]]) -> Labels:
    """Return the names in `features` as a README.md holds them."""
    found: Labels = {}
    for feature in features:
        for key in ("dtype", "sequence", "list"):
            if names := _names_in_card(feature.get(key)):
                found[str(feature.get("name"))] = names
    return found


def _names_in_card(dtype: Any) -> tuple[str, ...]:
    """Return the names in `{"class_label": {"names": ...}}`, a list or a dict by number; () for another type."""
    label = dtype.get("class_label") if isinstance(dtype, dict) else None
    names = label.get("names") if isinstance(label, dict) else None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=lambda key: (len(str(key)), str(key)))]  # "2" < "10"
    return tuple(map(str, names)) if isinstance(names, list) else ()


def labels_in_metadata(metadata: Mapping[bytes, bytes] | None) -> Labels:
    """Return the names in the metadata of a parquet or arrow schema."""
    try:
        known = msgspec.json.decode((metadata or {}).get(b"huggingface", b"{}"))
        return labels_in_features(known["info"]["features"])
    except (msgspec.DecodeError, AttributeError, LookupError, RecursionError, TypeError, UnicodeError):
        return {}


def put_label_names(values: dict[str, Any], labels: Labels) -> str:
    """Put the names into a row's `values`; returns what is wrong with the row, or "".

    A number in a list is named as well; -1 is no label, and becomes None.
    """
    for column, names in labels.items():
        if column in values:
            try:
                values[column] = _label_name(decode_raw(values[column]), names)
            except LookupError as error:
                return _("holds the label {error} in `{column}`, which has names for 0 to {count}").format(
                    error=error, column=column, count=len(names) - 1
                )
    return ""


def _label_name(label: Any, names: tuple[str, ...]) -> Any:
    if isinstance(label, list):
        return [_label_name(each, names) for each in label]
    if label is None or label in names:
        return label
    try:
        number = int(label)
    except (OverflowError, TypeError, ValueError):
        return label
    if not -1 <= number < len(names):
        raise LookupError(label)
    return None if number == -1 else names[number]


def _names_in_feature(feature: Any) -> tuple[str, ...]:
    if isinstance(feature, list) and len(feature) == 1:
        return _names_in_feature(feature[0])
    if not isinstance(feature, dict):
        return ()
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return tuple(map(str, names)) if isinstance(names, list) else ()
    return _names_in_feature(feature.get("feature"))
