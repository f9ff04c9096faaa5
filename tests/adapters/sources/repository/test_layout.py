"""Which files are data, and of which split."""

import json
import subprocess

import pytest

from ftbridge.adapters.sources.repository import layout

CARD = """---
configs:
- config_name: cats
  data_files:
  - split: train
    path: cats/part-*
  - split: test
    path: [cats/last.jsonl]
- config_name: dogs
  data_dir: dogs
- config_name: some
  data_files:
    train: [cats/part-1.jsonl, cats/last.jsonl]
    test: dogs/d*
- config_name: all
  data_files: '**/*.jsonl'
  default: true
dataset_info:
- config_name: dogs
  features:
  - {name: label, dtype: {class_label: {names: {'0': small, '1': large}}}}
---
# Pets
"""


@pytest.fixture
def card(folder):
    (folder / "README.md").write_text(CARD)
    return layout.read_dataset_card(folder)[0]


def test_data_files_are_known_by_their_suffix():
    data = ["a.csv", "b.JSON", "c.jsonl.gz", "d.parquet", "e/f.xlsx", "g.tsv.zst", "h.json.zstd", "i.xltx", "j.tab"]
    others = ["README.md", "dataset_infos.json", ".git/a.csv", "__MACOSX/a.csv", "a.txt", "b.png", "gz", "d.parquet.gz"]
    escapes = ["../a.csv", "/etc/a.csv", "x/../../a.csv"]
    assert layout.data_files(data + others + escapes) == data


def test_data_files_are_sorted_in_natural_order():
    assert layout.data_files(["a10.csv", "a9.csv", "b.csv", "a1.csv"]) == ["a1.csv", "a9.csv", "a10.csv", "b.csv"]


# What `datasets` makes of the same names, as the test below it sees to.
NAMES = {
    ("a.jsonl", "b.jsonl"): {"": ["a.jsonl", "b.jsonl"]},
    ("test.jsonl", "train.jsonl"): {"train": ["train.jsonl"], "test": ["test.jsonl"]},
    ("my-dev-set.jsonl", "x/val_1.jsonl"): {"validation": ["my-dev-set.jsonl", "x/val_1.jsonl"]},
    ("latest.jsonl", "trainer.jsonl"): {"": ["latest.jsonl", "trainer.jsonl"]},
    ("eval/a.jsonl", "train/a.jsonl", "train/deep/b.jsonl"): {
        "train": ["train/a.jsonl", "train/deep/b.jsonl"],
        "test": ["eval/a.jsonl"],
    },
    ("data/train-00000-of-00001.jsonl", "data/extra-00000-of-00001-0ab.jsonl", "test.jsonl"): {
        "train": ["data/train-00000-of-00001.jsonl"],
        "extra": ["data/extra-00000-of-00001-0ab.jsonl"],
    },
    ("train/a.jsonl", "test.jsonl"): {"train": ["train/a.jsonl"]},
}


@pytest.mark.parametrize("names", NAMES, ids=" ".join)
def test_splits_are_told_by_file_names(names):
    assert layout.splits_by_name(list(names)) == NAMES[names]


@pytest.mark.framework
def test_split_names_are_known_as_datasets_knows_them(folder, training_python):
    script = (
        "import json, os\n"
        "from datasets.data_files import DataFilesDict, get_data_patterns\n"
        "for root in sorted(os.listdir()):\n"
        "    found = DataFilesDict.from_patterns(get_data_patterns(root), root, allowed_extensions=['.jsonl'])\n"
        "    print(json.dumps({str(split): sorted(files) for split, files in found.items()}))\n"
    )
    for number, names in enumerate(NAMES):
        for name in names:
            (folder / str(number) / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / str(number) / name).write_text("{}")
    done = subprocess.run([training_python, "-c", script], cwd=folder, check=True, capture_output=True, text=True)
    for number, (line, expected) in enumerate(zip(done.stdout.splitlines(), NAMES.values(), strict=True)):
        root = f"{folder / str(number)}/"
        theirs = {split: [file.removeprefix(root) for file in files] for split, files in json.loads(line).items()}
        assert theirs == {split or "train": sorted(files) for split, files in expected.items()}


def test_dataset_card_gives_configs_splits_and_labels(card):
    files = ["cats/part-1.jsonl", "cats/part-2.jsonl", "cats/last.jsonl", "dogs/train.jsonl", "dogs/dev.jsonl"]
    assert layout.configs(files, card) == {
        "cats": {"train": ["cats/part-1.jsonl", "cats/part-2.jsonl"], "test": ["cats/last.jsonl"]},
        "dogs": {"train": ["dogs/train.jsonl"], "validation": ["dogs/dev.jsonl"]},
        "some": {"train": ["cats/last.jsonl", "cats/part-1.jsonl"], "test": ["dogs/dev.jsonl"]},
        "all": {"train": layout.data_files(files)},
    }
    assert card.default() == "all"
    assert card.labels("dogs") == {"label": ("small", "large")}


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("data/*", "data/a.csv", True),
        ("data/*", "data/x/a.csv", False),
        ("data/**", "data/x/a.csv", True),
        ("**/a.csv", "a.csv", True),
        ("./a.csv", "a.csv", True),
        ("[ab].csv", "c.csv", False),
        ("**/" * 40 + "b", "a/" * 40 + "a", False),
    ],
)
def test_patterns_of_a_card_match_whole_paths(pattern, name, fits):
    config = layout.Config(data_files=pattern)
    assert layout._declared_splits(config, [name])["train"] == ([name] if fits else [])


@pytest.mark.parametrize("front", ["- : {", "configs: 7", "a: " + "[" * 10_000, "x", "a: 2026-99-99"])
def test_a_broken_card_is_left_aside_with_a_note(folder, front):
    (folder / "README.md").write_text(f"---\n{front}\n---\n")
    card, (note,) = layout.read_dataset_card(folder)
    assert card == layout.DatasetCard()
    assert "as it is broken" in note
    assert "Expected `" not in note


@pytest.mark.parametrize("readme", ["", "# Just text\n", "---\n---\n"])
def test_a_readme_may_have_no_card(folder, readme):
    (folder / "README.md").write_text(readme)
    assert layout.read_dataset_card(folder) == (layout.DatasetCard(), ())


@pytest.mark.parametrize(
    ("found", "wanted", "meant"),
    [
        (["only"], "", "only"),
        (["a", "b"], "", None),
        (["a", "default"], "", "default"),
        (["a", "b"], "b", "b"),
        (["a", "b"], "c", None),
        ([""], "default", ""),
    ],
)
def test_config_or_split_is_chosen_by_wish_default_or_being_alone(found, wanted, meant):
    assert layout.choose_name(found, wanted, "default") == meant
