"""Which samples of a conversion go into which files, and what became of all its rows."""

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ftbridge.adapters.convert.options import PARTS
from ftbridge.adapters.convert.plan import ConvertPlan
from ftbridge.adapters.convert.samples.remarks import Remarks
from ftbridge.adapters.convert.split import LEFT_OUT, assign_parts, count_shared, first_occurrences, nested_order
from ftbridge.adapters.targets.sample_file import SampleFile, find_late_history
from ftbridge.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.uint8]
    Numbers = NDArray[np.integer[Any]]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by what became of them: read = written + rejected + duplicates + left_out.

    `empty` rows are neither read nor rejected; `shared` are samples of other parts whose question is in the
    training part, where the parts are not of our making.
    """

    read: int = 0
    written: int = 0
    rejected: int = 0
    duplicates: int = 0
    left_out: int = 0
    empty: int = 0
    shared: int = 0


class EncodedSamples(msgspec.Struct):
    """What the samples of the staged files are, by number; `remarks` are by the source's own part, else "train"."""

    counts: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(("read", "empty", "left_out"), 0))
    samples: int = 0
    marks: bytearray = msgspec.field(default_factory=bytearray)
    parts: bytearray = msgspec.field(default_factory=bytearray)
    labels: "array[int]" = msgspec.field(default_factory=lambda: array("i"))
    questions: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    wholes: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    remarks: dict[str, Remarks] = {}


def select_samples(job: ConvertPlan, consumed: EncodedSamples) -> tuple[dict[str, "Numbers | None"], Counts]:
    """Return the numbers of the samples of each part and subset, None for all in order, and the final counts.

    A part of the source's own that no sample is left for is left out. What only this needs of `consumed` is emptied on
    the way: for ten million samples 80 MB of hashes of each kind, and 40 MB of labels.
    """
    made = consumed
    options, counts = job.options, made.counts
    if not job.rearranged:
        return {job.names[0]: None}, Counts(**counts, written=made.samples)
    import numpy as np

    kept: Any = ...
    if options.dedup:
        kept = first_occurrences(np.frombuffer(made.wholes, np.uint64))
        made.wholes = array("Q")
    numbers = np.arange(made.samples, dtype=np.uint32)[kept]
    labels = np.frombuffer(made.labels, np.int32)[kept] if made.labels else np.zeros(len(numbers), np.uint8)
    made.labels = array("i")
    codes, alike = _part_codes(job, made, kept, labels)
    selection: dict[str, Numbers | None] = {}
    for at, part in enumerate(job.parts):
        inside = codes == at
        chosen = numbers[inside]
        if not len(chosen):  # of a split of the source's own, of which duplicates or `--limit` leave nothing
            continue
        selection[f"{job.name}-{part}"] = chosen
        if part == PARTS[0] and options.sample:
            if options.sample[-1] > len(chosen):
                raise UsageError(
                    f"`--sample` asks for {options.sample[-1]} of {len(chosen)} training samples; ask for fewer"
                )
            order = nested_order(labels[inside], options.seed, options.sample[-1])
            for size in options.sample:
                selection[f"{job.name}-train-{size}"] = np.sort(chosen[order[:size]])
    left_out = int(np.count_nonzero(codes == LEFT_OUT))
    counts = counts | {
        "written": len(numbers) - left_out,
        "duplicates": made.samples - len(numbers),
        "left_out": counts["left_out"] + left_out,
        "shared": alike,
    }
    return {name: selection[name] for name in job.names if name in selection}, Counts(**counts)


def _part_codes(job: ConvertPlan, consumed: EncodedSamples, kept: Any, labels: "Numbers") -> tuple["Codes", int]:
    """Return the place of each kept sample's part, and how many samples of other parts have a training question."""
    import numpy as np

    options, made = job.options, consumed
    codes = np.frombuffer(made.parts, np.uint8)[kept] if made.parts else np.zeros(len(labels), np.uint8)
    if not made.questions:
        return codes, 0
    questions, made.questions = np.frombuffer(made.questions, np.uint64)[kept], array("Q")
    if options.split:
        codes = assign_parts(options.split, questions, labels, options.seed)
    # A split of ours in random order keeps the same questions together.
    return codes, 0 if options.split and options.seed is not None else count_shared(questions, codes)


def part_files(
    job: ConvertPlan,
    selection: dict[str, "Numbers | None"],
    staged: dict[str, SampleFile],
    marks: bytearray,
    new_file: Callable[[str, str], SampleFile],
) -> dict[str, dict[str, SampleFile]]:
    """Return the files of each part and subset: the staged ones as they are, or `new_file` with copies of samples."""
    import numpy as np

    files = {}
    for name, chosen in selection.items():
        runs = [] if chosen is None else [chosen]
        late = None
        if 1 in marks and "alpaca" in staged and not job.array:
            late = find_late_history(chosen, staged["alpaca"], marks)
        if late is not None:
            every = np.arange(len(marks), dtype=np.uint32) if chosen is None else chosen
            runs = [every[late : late + 1], np.delete(every, late)]
        files[name] = {target: new_file(name, target) for target in staged} if runs else staged
        for target, file in files[name].items():
            file.copies = [(staged[target], run) for run in runs]
    return files
