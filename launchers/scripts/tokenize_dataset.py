"""Make ready tokens of a dataset's messages, for any framework to train on.

Runs inside the training environment: `python tokenize_dataset.py SPEC` with SPEC as JSON: `model`,
`trust_remote_code`, `template` (the chat template's text, its variables decided), `file` (a message file: JSON lines of
`messages` and `tools`), `folder` (where to write; shards that an earlier start has left there count), `last_only`,
`cutoff_length`, `too_long` (cut, drop or refuse), `packing`, `processes`, and `fingerprint`, which each file holds.

Lines on stdout are JSON: {"bytes": done} as it goes, and last {"counts": ..., "compared": ...}, as reference_samples.py
compares what was written, or {"error": sentence}. The folder is then one that `datasets.load_from_disk` reads, with the
columns input_ids, labels, and attention_mask, or position_ids where samples are packed.
"""

import gc
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from chat_tokens import ChatTemplate, OffsetsError, Sample, TemplateError, encode, generation_stops
from cutoff_tokens import Fitted, fit
from pack_tokens import packs
from probes import FILE as PROBES
from probes import Probes
from reference_samples import compared
from thoughts import thought_of
from tokenizer_loading import TokenizerError, load_tokenizer
from word_tokens import WordTokens

SHARD = 1 << 22  # bytes of messages whose tokens make one file
BATCH = 200  # conversations that the tokenizer takes at once

Row = tuple[Any, Any]  # token ids and labels of a sample, as numpy's arrays


class RefusedError(ValueError):
    """A conversation that cannot be trained as it stands."""


class Tokenizing:
    """What makes tokens of conversations; each process has its own."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Load the tokenizer."""
        self.spec, self.start = spec, 0
        self.tokenizer = load_tokenizer(spec["model"], trust_remote_code=spec["trust_remote_code"])
        self.template = ChatTemplate(self.tokenizer, spec["template"], generation_stops(self.tokenizer, spec["model"]))
        self.words = WordTokens.of(self.tokenizer)

    def shard(self, start: int, end: int, number: int) -> dict[str, Any]:
        """Write the file of the messages between two places of the source, and return its counts."""
        file = Path(self.spec["folder"], f"data-{number:05}.arrow")
        counts = file.with_suffix(".json")
        if file.is_file() and counts.is_file():
            return dict(json.loads(counts.read_text()))
        self.start = start
        made: list[Row] = []
        total: Counter[str] = Counter()
        left_out: list[int] = []  # numbers of conversations, from 1 within the shard
        probes = Probes(Path(self.spec["file"]).stat().st_size, start, end)
        lines = self._conversations(start, end, probes)
        first, longest = 1, 0
        while batch := [line for _, line in zip(range(BATCH), lines, strict=False)]:
            for conversation, result in self._fitted(batch, first, total):
                longest = max(longest, result.length)  # also of what is left out
                fits = len(result.ids) > 0
                total["samples" if fits else "left_out"] += 1
                total[f"cut_{result.cut}"] += bool(result.cut)
                probes.note_sample(conversation, len(made) if fits else None)
                if fits:
                    made.append((np.asarray(result.ids, np.int32), np.asarray(result.labels, np.int32)))
                else:
                    left_out.append(conversation)
            first += len(batch)
        rows, places = self._rows(made)
        total["conversations"], total["rows"] = first - 1, len(rows["input_ids"])
        total["tokens"] = len(rows["input_ids"].values)
        total["answer_tokens"] = int((rows["labels"].values.to_numpy() >= 0).sum())
        _write_arrow(file, rows, self.spec["fingerprint"])
        found = {**total, "left_out_conversations": left_out, "longest": longest, "probes": probes.records(places)}
        _write(counts, json.dumps(found))
        return found

    def _counted_through(self, number: int) -> int:
        """Return the number in the file of a conversation that is counted from 1 within the shard."""
        with Path(self.spec["file"]).open("rb") as source:
            while source.tell() < self.start:
                source.readline()
                number += 1
        return number

    def _conversations(self, start: int, end: int, probes: Probes) -> Iterator[dict[str, Any]]:
        place, number = start, 0
        with Path(self.spec["file"]).open("rb") as source:
            source.seek(start)
            while place < end and (line := source.readline()):
                conversation, number = json.loads(line), number + 1
                probes.look_at(number, place, len(line), conversation)
                place += len(line)
                yield conversation

    def _fitted(self, batch: list[dict[str, Any]], first: int, total: "Counter[str]") -> Iterator[tuple[int, Fitted]]:
        """Yield the samples of conversations, the first of which has this number, with their conversation's."""
        found: list[tuple[int, dict[str, Any], Sample]] = []
        for number, line in enumerate(batch, first):
            try:
                samples = self.template.samples(line["messages"], line.get("tools"), last_only=self.spec["last_only"])
            except TemplateError as error:
                where = f"conversation {self._counted_through(number)}"
                raise RefusedError(
                    f"the chat template fails on {where}: {error}; `--chat-template` names another"
                ) from error
            total["without_answer"] += not samples
            for sample in samples:
                _count_answers(line["messages"], sample, total)
            found += [(number, line, sample) for sample in samples]
        cutoff = self.spec["cutoff_length"]
        for (number, line, sample), (ids, labels) in zip(
            found, self._encoded([sample for _, _, sample in found]), strict=True
        ):
            if len(ids) <= cutoff:
                yield number, Fitted(ids, labels, len(ids))
            elif self.spec["too_long"] == "cut":
                yield number, fit(self.template, line["messages"], line.get("tools"), sample, cutoff)
            elif self.spec["too_long"] == "refuse":
                where = f"conversation {self._counted_through(number)}"
                raise RefusedError(f"{where} has {len(ids)} tokens, and the cutoff length is {cutoff}")
            else:
                yield number, Fitted([], [], len(ids))

    def _encoded(self, samples: list[Sample]) -> Iterator[Row]:
        """Yield ids and labels of each sample."""
        found = self.words.encode(samples) if self.words else [None] * len(samples)
        rest = encode(self.tokenizer, [sample for sample, known in zip(samples, found, strict=True) if not known])
        others = iter(rest)
        for known in found:
            yield known or next(others)

    def _rows(self, made: "list[Row]") -> tuple[dict[str, pa.ListArray], list[tuple[int, int]]]:
        """Return the columns of the samples, or of the packs that they are put into, and where each sample begins.

        That is its row, and its first token there.
        """
        lengths = [len(ids) for ids, _ in made]
        if not self.spec["packing"]:
            ones = [np.ones(sum(lengths), np.int8)]
            columns = _columns(made, lengths) | {"attention_mask": _lists(ones, lengths)}
            return columns, [(row, 0) for row in range(len(made))]
        groups = packs(lengths, self.spec["cutoff_length"])
        order = [number for group in groups for number in group]
        sizes = [sum(lengths[number] for number in group) for group in groups]
        positions = [np.arange(lengths[number], dtype=np.int32) for number in order]
        columns = _columns([made[number] for number in order], sizes) | {"position_ids": _lists(positions, sizes)}
        places = [(0, 0)] * len(made)
        for row, group in enumerate(groups):
            starts = accumulate((lengths[number] for number in group), initial=0)
            for number, start in zip(group, starts, strict=False):
                places[number] = row, start
        return columns, places


def _count_answers(messages: list[dict[str, Any]], sample: Sample, total: "Counter[str]") -> None:
    """Count the answers that a sample trains, their thoughts, and those thoughts that are not in its text."""
    thoughts = [thought for number in sample.answers if (thought := thought_of(messages[number]))]
    total["answers"] += len(sample.answers)
    total["thoughts"] += len(thoughts)
    total["thoughts_left_out"] += sum(thought not in sample.text for thought in thoughts)


def _columns(made: "list[Row]", sizes: list[int]) -> dict[str, pa.ListArray]:
    """Return the ids and labels of samples, in rows of these `sizes`."""
    return {name: _lists([each[at] for each in made], sizes) for at, name in enumerate(("input_ids", "labels"))}


def _lists(parts: list[Any], sizes: list[int]) -> pa.ListArray:
    """Return a column of lists of these `sizes`, which hold the numbers of `parts`, one part after the other."""
    ends = np.cumsum([0, *sizes], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(parts or [np.array([], np.int32)])))


def _write_arrow(file: Path, rows: dict[str, pa.ListArray], fingerprint: str) -> None:
    """Write a file at whose beginning stands what it was made of, as nothing in its numbers tells a tokenizer."""
    table = pa.table(rows).replace_schema_metadata({"ftbridge": fingerprint})
    beside = file.with_suffix(".arrow.part")
    with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    beside.replace(file)


def _write(file: Path, text: str) -> None:
    beside = file.with_name(file.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def stretches_of(file: Path) -> list[tuple[int, int]]:
    """Return the places where the stretches of a file of whole lines begin and end."""
    size, places = file.stat().st_size, [0]
    with file.open("rb") as source:
        while places[-1] + SHARD < size:
            source.seek(places[-1] + SHARD)
            source.readline()
            places.append(source.tell())
    return list(zip(places, [*places[1:], size], strict=True))


class Shards:
    """The shards of a dataset, made by several processes."""

    made_by: Tokenizing  # loaded once; the other processes are copies of this one

    @classmethod
    def make(cls, spec: dict[str, Any]) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield the number of each shard, the bytes of messages that it is made of, and its counts, once it is done."""
        cls.made_by = Tokenizing(spec)
        gc.freeze()  # else each process looks through all that is loaded, which copies it
        stretches = list(enumerate(stretches_of(Path(spec["file"]))))
        processes = min(spec["processes"], len(stretches))
        if processes == 1:
            for number, (start, end) in stretches:
                yield number, end - start, cls.made_by.shard(start, end, number)
            return
        with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
            waiting = {pool.submit(cls._shard, *stretch, number): (number, stretch) for number, stretch in stretches}
            try:
                for done in as_completed(waiting):
                    number, (start, end) = waiting[done]
                    yield number, end - start, done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    @classmethod
    def _shard(cls, start: int, end: int, number: int) -> dict[str, Any]:
        return cls.made_by.shard(start, end, number)


def summed(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts of all shards, in their order, with the numbers of conversations and rows counted through."""
    total: Counter[str] = Counter()
    left_out: list[int] = []
    probes: list[dict[str, Any]] = []
    for each in counts:
        left_out += [total["conversations"] + number for number in each.pop("left_out_conversations")]
        for probe in each.pop("probes"):
            places = [place and (total["rows"] + place[0], place[1]) for place in probe["samples"]]
            numbered = {"conversation": total["conversations"] + probe["conversation"], "samples": places}
            probes.append(probe | numbered)
        longest = max(total["longest"], each.pop("longest"))
        total.update(each)
        total["longest"] = longest
    return {**total, "left_out_conversations": left_out, "probes": probes}


def finish(folder: Path, fingerprint: str) -> None:
    """Make one dataset of the shards, as `datasets.load_from_disk` reads it."""
    from datasets import Dataset, DatasetInfo

    files = sorted(folder.glob("data-*.arrow"))
    DatasetInfo(features=Dataset.from_file(str(files[0])).features).write_to_directory(str(folder))
    state: dict[str, Any] = {
        "_data_files": [{"filename": file.name} for file in files],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    _write(folder / "state.json", json.dumps(state))
    for file in folder.glob("data-*.json"):
        file.unlink()


def main() -> None:
    """Write the tokens; what is wrong with the data or the template is a sentence."""
    spec = json.loads(sys.argv[1])
    if not spec["trust_remote_code"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the tokenizer is here already
    done = 0
    counts: dict[int, dict[str, Any]] = {}
    try:
        for number, length, counted in Shards.make(spec):
            counts[number] = counted
            done += length
            say({"bytes": done})
        total = summed([counts[number] for number in sorted(counts)])
        folder = Path(spec["folder"])
        _write(folder / PROBES, json.dumps(total.pop("probes")))
        finish(folder, spec["fingerprint"])
        say({"counts": total, "compared": compared(Shards.made_by.tokenizer, spec)})
    except (RefusedError, OffsetsError, TemplateError, TokenizerError) as error:
        say({"error": str(error)})
    except OSError as error:
        say({"error": f"`{error.filename}`: {error.strerror}" if error.filename else str(error)})


def say(record: dict[str, Any]) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
