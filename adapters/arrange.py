"""Which samples of a conversion go into which files, and what became of all its rows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ftbridge.adapters.job import Job
from ftbridge.adapters.split import LEFT_OUT, PARTS, assign, nested, shared, unique
from ftbridge.adapters.write import SampleFile, copy, with_history_early
from ftbridge.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from array import array

    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.signedinteger[Any]]


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


class Made(msgspec.Struct):
    """What the samples of the staged files are, by number."""

    counts: dict[str, int]
    samples: int
    marks: bytearray
    parts: bytearray
    labels: "array[int]"
    questions: "array[int]"
    wholes: "array[int]"


def select(job: Job, made: Made) -> tuple[dict[str, "Numbers | None"], Counts]:
    """Return the numbers of the samples of each part and subset, None for all in order, and the final counts."""
    options, counts = job.options, made.counts
    if not job.rearranged:
        return {job.names[0]: None}, Counts(**counts, written=made.samples)
    import numpy as np

    everything = np.arange(made.samples)
    kept = unique(np.frombuffer(made.wholes, np.uint64)) if options.dedup else everything
    labels = (np.frombuffer(made.labels, np.int32) if made.labels else np.zeros(len(everything), np.int32))[kept]
    questions = np.frombuffer(made.questions, np.uint64)[kept] if made.questions else None
    codes = np.frombuffer(made.parts, np.uint8)[kept] if made.parts else np.zeros(len(kept), np.uint8)
    if options.split and questions is not None:
        codes = assign(options.split, questions, labels, options.seed)
    selection: dict[str, Numbers | None] = {}
    for at, part in enumerate(job.parts):
        inside = codes == at
        chosen = kept[inside]
        if not len(chosen):
            raise InputError(f"no row is left for the part `{job.name}-{part}`")
        selection[f"{job.name}-{part}"] = chosen
        if part == PARTS[0] and options.sample:
            if options.sample[-1] > len(chosen):
                raise UsageError(f"`--sample` asks for {options.sample[-1]} of {len(chosen)} training samples")
            order = nested(labels[inside], options.seed)
            for size in options.sample:
                selection[f"{job.name}-train-{size}"] = np.sort(chosen[order[:size]])
    counts = counts | {
        "written": int((codes != LEFT_OUT).sum()),
        "duplicates": len(everything) - len(kept),
        "left_out": counts["left_out"] + int((codes == LEFT_OUT).sum()),
        "shared": shared(questions, codes) if questions is not None else 0,
    }
    return {name: selection[name] for name in job.names}, Counts(**counts)


def selected(
    job: Job,
    selection: dict[str, "Numbers | None"],
    staged: dict[str, SampleFile],
    marks: bytearray,
    new_file: Callable[[str, str], SampleFile],
) -> dict[str, dict[str, SampleFile]]:
    """Return the files of each part and subset: the staged ones as they are, or `new_file` with copies of samples."""
    files = {}
    for name, chosen in selection.items():
        order = chosen
        if 1 in marks and "alpaca" in staged and not job.array:
            order = with_history_early(chosen, staged["alpaca"], marks)
        if order is None:
            files[name] = staged
            continue
        files[name] = {target: new_file(name, target) for target in staged}
        for target, file in files[name].items():
            copy(staged[target], file, order)
    return files
