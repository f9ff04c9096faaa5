"""Label maps."""

import pytest

from ftbridge.adapters.mapping.label_map import load_label_map
from ftbridge.core.errors import InputError


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("0: Physics\n7: Electricity\n", {"0": "Physics", "7": "Electricity"}),
        ("- neg\n- pos\n", {"0": "neg", "1": "pos"}),
        ('{"07": "a", "no": "b"}', {"07": "a", "no": "b"}),
        ("no: negative\nyes: 1.0\n", {"no": "negative", "yes": "1.0"}),
        ("标签: 'Textiles; Paper'\n", {"标签": "Textiles; Paper"}),
    ],
)
def test_labels_are_read_as_they_are_written(folder, content, labels):
    (folder / "labels.yaml").write_text(content, "utf-8")
    assert load_label_map(folder / "labels.yaml") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no labels"),
        ("just text", "holds no labels"),
        ("6: b\n\n7: [a]\n", ", line 3: one text for each label"),
        ("7:\n", "one text for each label"),
        ("7: a\n7: b\n", ", line 2: a second text for the label `7`"),
        ("6: b\n7: 'a\n", "not valid YAML: line 2: "),
        pytest.param("[" * 100_000, "not valid YAML", marks=pytest.mark.slow),
        ("7: !!python/object/apply:os.system ['true']\n", "one text for each label"),
    ],
)
def test_yaml_that_is_no_label_map_is_refused(folder, content, message):
    (folder / "labels.yaml").write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        load_label_map(folder / "labels.yaml")


def test_missing_label_map_is_named(folder):
    with pytest.raises(InputError, match=r"no label map at `.*nine\.yaml`"):
        load_label_map(folder / "nine.yaml")
