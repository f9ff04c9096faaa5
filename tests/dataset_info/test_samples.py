"""The sample rows of the presets: read without a question, few, all different, and copied from nowhere."""

import json
from importlib.resources import as_file, files

import pytest

from ftbridge import convert
from ftbridge.dataset_info.presets import load_preset

SAMPLES = {
    "adgen": "adgen.jsonl",
    "chnsenticorp": "chnsenticorp.csv",
    "fudan-news": "fudan-news.jsonl",
    "huanhuan": "huanhuan.json",
    "medqa": "medqa.xlsx",
    "msra-ner": "msra-ner.jsonl",
    "patents": "patents.jsonl",
    "twitter-complaints": "twitter-complaints.csv",
}
REAL = {
    "chnsenticorp": "chnsenticorp/ChnSentiCorp_htl_all.csv",
    "fudan-news": "fudan_news/text_category_output.jsonl",
    "huanhuan": "huanhuan/huanhuan-100.json",
    "patents": "patents/source.jsonl",
    "twitter-complaints": "raft/train.csv",
}
FOLDER = files("ftbridge.dataset_info") / "samples"


def converted(folder, name, file):
    """Return the samples of `file`, read by the preset `name`."""
    done = convert(file, preset=name, name=name, dataset_dir=folder, on_error="skip", to="alpaca")
    (part,) = done.parts
    return done, [json.loads(line) for line in (folder / part.files["alpaca"]).read_text("utf-8").splitlines()]


def told(rows):
    """Return what the rows hold, without an instruction that is the same for all."""
    return {(row["input"] or row["instruction"], row["output"]) for row in rows}


def test_every_sample_is_of_a_preset():
    assert sorted(each.name for each in FOLDER.iterdir()) == sorted(SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_read_by_its_preset_whole_and_without_a_warning(name, tmp_path, capsys):
    with as_file(FOLDER / SAMPLES[name]) as file:
        done, rows = converted(tmp_path, name, file)
    assert 30 <= len(rows) == done.counts.read <= 60
    assert len({row["instruction"] + row["input"] for row in rows}) == len(rows)
    if labels := load_preset(name).labels:
        assert {row["output"] for row in rows} <= set(labels.values())
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("name", REAL)
def test_no_row_of_a_sample_is_one_of_the_real_data(name, public_data, tmp_path):
    with as_file(FOLDER / SAMPLES[name]) as file:
        _, ours = converted(tmp_path / "ours", name, file)
    _, real = converted(tmp_path / "real", name, public_data.folder / REAL[name])
    assert not told(ours) & told(real)
