"""Which samples of a conversion go into which files, and what became of all its rows."""

from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

import msgspec

from ftbridge.adapters.convert.options import PARTS
from ftbridge.adapters.convert.plan import ConvertPlan, file_name
from ftbridge.adapters.convert.samples.encode import Batch
from ftbridge.adapters.convert.samples.remarks import Remarks
from ftbridge.adapters.convert.split import LEFT_OUT, assign_parts, count_shared, first_occurrences, nested_order
from ftbridge.adapters.targets.sample_file import SampleFile, find_late_history
from ftbridge.core.console import counted
from ftbridge.core.errors import InputError, UsageError
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.language import gettext as _
from ftbridge.language import joined

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
    """What is known of the samples that the staged files hold, each by its number in order of the source.

    `multi_turn` is 1 for a sample with earlier turns, `parts` the place of its part where the source has several,
    `labels` the number of its class, `questions` and `wholes` are hashes. `flagged` says that some answer is not
    learned. `remarks` are by the source's own part, else "train".
    """

    counts: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(("read", "empty", "left_out"), 0))
    samples: int = 0
    multi_turn: bytearray = msgspec.field(default_factory=bytearray)
    parts: bytearray = msgspec.field(default_factory=bytearray)
    labels: "array[int]" = msgspec.field(default_factory=lambda: array("i"))
    questions: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    wholes: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    flagged: bool = False
    remarks: dict[str, Remarks] = {}
    classes: dict[int, int] = {}

    def add(self, batch: Batch, part: str, *, indexed: bool) -> None:
        """Take in the samples of a batch, which stand in a part of the source; unless `indexed` only their counts."""
        for name in self.counts:
            self.counts[name] += getattr(batch, name)
        if indexed:
            self.multi_turn += batch.multi_turn
        self.remarks.setdefault(part, Remarks()).add_all(batch.remarks)
        self.flagged = self.flagged or batch.flagged
        self.questions += batch.questions
        self.wholes += batch.wholes
        classes = self.classes
        self.labels.extend(classes.setdefault(hash(label), len(classes)) for label in batch.labels)


def select_samples(plan: ConvertPlan, consumed: EncodedSamples) -> tuple[dict[str, "Numbers | None"], Counts]:
    """Return the numbers of the samples of each part and subset, None for all in order, and the final counts.

    A part of the source's own that no sample is left for is left out. What only this needs of `consumed` is emptied on
    the way: for ten million samples 80 MB of hashes of each kind, and 40 MB of labels. Raises UsageError for a subset
    that is larger than the training part, InputError where a part of a split would be empty.
    """
    encoded = consumed
    if not plan.rearranged:
        return {plan.names[0]: None}, Counts(**encoded.counts, written=encoded.samples)
    import numpy as np

    kept: Any = ...
    if plan.options.dedup:
        kept = first_occurrences(np.frombuffer(encoded.wholes, np.uint64))
        encoded.wholes = array("Q")
    numbers = np.arange(encoded.samples, dtype=np.uint32)[kept]
    labels = np.frombuffer(encoded.labels, np.int32)[kept] if encoded.labels else np.zeros(len(numbers), np.uint8)
    encoded.labels = array("i")
    codes, in_training_too = _part_codes(plan, encoded, kept, labels)
    selection: dict[str, Numbers | None] = {}
    for code, part in enumerate(plan.parts):
        inside = codes == code
        chosen = numbers[inside]
        if len(chosen):  # else it is one of the source's own, of which duplicates or `--limit` leave nothing
            selection[f"{plan.name}-{part}"] = chosen
            if part == PARTS[0]:
                selection |= _subsets(plan, chosen, labels[inside])
    left_out = int(np.count_nonzero(codes == LEFT_OUT))
    counts = encoded.counts | {
        "written": len(numbers) - left_out,
        "duplicates": encoded.samples - len(numbers),
        "left_out": encoded.counts["left_out"] + left_out,
        "shared": in_training_too,
    }
    return {name: selection[name] for name in plan.names if name in selection}, Counts(**counts)


def count_not_held(
    selection: dict[str, "Numbers | None"],
    samples: Mapping[str, int],
    staged: Mapping[str, SampleFile],
) -> dict[str, dict[str, int]]:
    """Return how many `samples` of each part and subset a target cannot hold, for those targets of which it is true.

    Raises InputError where no target can hold any of a part.
    """
    import numpy as np

    found: dict[str, dict[str, int]] = {name: {} for name in selection}
    for target, file in staged.items():
        if not file.not_held:
            continue
        for name, chosen in selection.items():
            missing = file.not_held
            if chosen is not None:
                missing = int(np.count_nonzero(np.frombuffer(file.lengths, np.uint32)[chosen] == 0))
            found[name] |= {target: missing} if missing else {}
    _refuse_unwritable(found, samples, staged)
    return found


def _refuse_unwritable(
    not_held: Mapping[str, Mapping[str, int]], samples: Mapping[str, int], targets: Iterable[str]
) -> None:
    """Raise InputError where no target can hold any of the samples of a part."""
    targets = list(targets)
    for name, by_target in not_held.items():
        if all(by_target.get(target, 0) == samples[name] for target in targets):
            raise InputError(
                _(
                    "no sample of `{name}` can be written for {targets}, which cannot hold tools or "
                    "answers excluded from the loss; add {messages} to `--to`"
                ).format(name=name, targets=joined(_(" or "), targets), messages=MESSAGES)
            )


def drop_empty(
    files: Mapping[str, dict[str, SampleFile]],
    opened: dict[str, IO[bytes]],
    samples: Mapping[str, int],
    not_held: Mapping[str, Mapping[str, int]],
) -> None:
    """Take out the files of targets that can hold no sample of their part."""
    for name, by_target in not_held.items():
        for target, count in by_target.items():
            if count == samples[name]:
                files[name].pop(target)
                del opened[file_name(name, target)]


def _subsets(plan: ConvertPlan, training: "Numbers", labels: "Numbers") -> dict[str, "Numbers"]:
    """Return the subsets of the training part that `--sample` asks for, each within the next larger one."""
    import numpy as np

    sizes = plan.options.sample
    if not sizes:
        return {}
    if sizes[-1] > len(training):
        raise UsageError(
            _("`--sample` asks for {size} of {training_sample}; ask for fewer").format(
                size=sizes[-1], training_sample=counted(len(training), "training sample")
            )
        )
    order = nested_order(labels, plan.options.seed, sizes[-1])
    return {f"{plan.name}-{PARTS[0]}-{size}": np.sort(training[order[:size]]) for size in sizes}


def _part_codes(plan: ConvertPlan, consumed: EncodedSamples, kept: Any, labels: "Numbers") -> tuple["Codes", int]:
    """Return the place of each kept sample's part, and how many samples of other parts have a training question."""
    import numpy as np

    options, encoded = plan.options, consumed
    codes = np.frombuffer(encoded.parts, np.uint8)[kept] if encoded.parts else np.zeros(len(labels), np.uint8)
    if not encoded.questions:
        return codes, 0
    questions, encoded.questions = np.frombuffer(encoded.questions, np.uint64)[kept], array("Q")
    if options.split:
        codes = assign_parts(options.split, questions, labels, options.seed)
        if options.seed is not None:  # a split of ours in random order keeps the same questions together
            return codes, 0
    return codes, count_shared(questions, codes)


def part_files(
    plan: ConvertPlan,
    selection: dict[str, "Numbers | None"],
    staged: dict[str, SampleFile],
    multi_turn: bytearray,
    new_file: Callable[[str, str], SampleFile],
) -> dict[str, dict[str, SampleFile]]:
    """Return the files of each part and subset by target: `staged` ones as they are, or new ones with copies.

    `new_file` makes a file from the name of the part and that of the target.
    """
    files = {}
    for name, chosen in selection.items():
        blocks = _blocks_to_copy(plan, chosen, staged, multi_turn)
        if not blocks:
            files[name] = staged
            continue
        files[name] = {target: new_file(name, target) for target in staged}
        for target, file in files[name].items():
            file.copies = [(staged[target], block) for block in blocks]
    return files


def _blocks_to_copy(
    plan: ConvertPlan, chosen: "Numbers | None", staged: dict[str, SampleFile], multi_turn: bytearray
) -> list["Numbers"]:
    """Return the samples of a file, block by block in its order; [] where the staged file is it already.

    A sample with earlier turns comes first where the first one would come too late for LLaMA-Factory.
    """
    import numpy as np

    late = None
    if 1 in multi_turn and "alpaca" in staged and not plan.array:
        late = find_late_history(chosen, staged["alpaca"], multi_turn)
    if late is not None:
        every = np.arange(len(multi_turn), dtype=np.uint32) if chosen is None else chosen
        return [every[late : late + 1], np.delete(every, late)]
    return [] if chosen is None else [chosen]
