"""Samples made of a file of questions and answers."""

import json
from pathlib import Path

from ftbridge.adapters.convert.samples.encode import Encoder
from ftbridge.adapters.convert.samples.workers import encode_tables
from ftbridge.adapters.mapping.inference.infer import MappingOptions, infer_mapping
from ftbridge.adapters.sources.text import jsonl
from ftbridge.adapters.targets.sample_file import SampleFile
from ftbridge.core.records import Reading


def run(*tables, limit=None, **options):
    """Return the samples of all tables, and what the batches say together."""
    mappings = tuple(infer_mapping(table, MappingOptions(), None).mapping for table in tables)
    maker = Encoder(mappings=mappings, targets=("alpaca", "xtuner"), betweens=(b"\n",) * 2, **options)
    with Path("out.a").open("w+b") as alpaca, Path("out.x").open("w+b") as xtuner:
        files = [SampleFile(file, as_array=False) for file in (alpaca, xtuner)]
        found = [batch for _, batch in encode_tables(maker, tables, files, limit)]
        for file in files:
            file.finish()
        assert sum(files[0].lengths) == files[0].size == Path("out.a").stat().st_size
    texts = [Path(name).read_text("utf-8").splitlines() for name in ("out.a", "out.x")]
    answers = [json.loads(line)["output"] for line in texts[0]]
    assert answers == [json.loads(line)["conversation"][-1]["output"] for line in texts[1]]
    return answers, found


def pieces_of(answers):
    """Return the table of a file with a question and one of `answers` in each row."""
    text = "".join(json.dumps({"question": "q", "answer": answer}) + "\n" for answer in answers)
    Path("faq.jsonl").write_text(text, "utf-8")
    return jsonl.open_tables(Path("faq.jsonl"), Reading())[0]
