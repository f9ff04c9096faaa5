"""Ready tokens on disk: made once of a dataset's messages, for all runs, processes and frameworks.

They stand in `.ftbridge/tokens/<key>/`, a folder that `datasets.load_from_disk` reads, with the record of what they
were made of beside them in `fingerprint.json`.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import locked, read_text, sha256, write_json
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.language import gettext as _
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.chat_template import ChatTemplate

TOKENS = Path(".ftbridge/tokens")  # in a project
RECORD = "fingerprint.json"
PART = ".part"  # behind the key, of a folder that is not finished
_SCHEMA = 4096  # bytes at the beginning of an Arrow file that hold more than its schema
_DICT = "dataset_dict.json"  # by which `datasets` tells a folder of several parts
# What decides which tokens a text becomes. A tokenizer's own code is among it.
_TOKENIZER = (
    "tokenizer*", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json", "*.model", "tokenization*.py",
    "generation_config.json",
)  # fmt: skip

TooLong = Literal["cut", "drop", "refuse"]
Learn = Literal["all", "last"]


class TokenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the tokens besides messages, tokenizer and chat template.

    `learn` are the answers that are trained, `too_long` what becomes of samples beyond the `cutoff_length` in tokens;
    `packing` puts several samples into one of that length.
    """

    cutoff_length: int
    learn: Learn = "all"
    too_long: TooLong = "cut"
    packing: bool = False


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a dataset's conversations.

    `rows` are trained on, which are packs of samples where these are packed. `cut_turns` and `cut_question` count the
    samples that lost their oldest turns, and the end of their question; `left_out` those that did not fit, of the
    `left_out_conversations`, counted from 1; `without_answer` the conversations of which nothing is trained. `thoughts`
    count the answers that have one, and `thoughts_left_out` those of them that are trained without. `longest` is in
    tokens, before anything is cut.
    """

    conversations: int
    samples: int = 0
    rows: int
    tokens: int
    answer_tokens: int
    longest: int
    cut_turns: int = 0
    cut_question: int = 0
    left_out: int = 0
    without_answer: int = 0
    answers: int = 0
    thoughts: int = 0
    thoughts_left_out: int = 0
    left_out_conversations: list[int] = []


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What ready tokens were made of; hashes are sha256 in hexadecimal digits.

    `tokenizer` maps the names of the tokenizer's files to theirs, `code` is that of what makes the tokens, `version`
    that of transformers.
    """

    messages: str
    tokenizer: dict[str, str]
    chat_template: str
    options: TokenOptions
    code: str
    version: str

    @property
    def key(self) -> str:
        """Return the name of the tokens' folder: the first 24 digits of the sha256 of this record."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:24]


class ReadyTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that are ready: their folder, what became of the conversations, and who reads them alike."""

    folder: Path
    fingerprint: Fingerprint
    counts: Counts
    agreement: Agreement


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside the tokens: `files` are their names, with the bytes of each."""

    fingerprint: Fingerprint
    counts: Counts
    agreement: Agreement
    template: str
    files: dict[str, int]


def tokenizer_files(model: Path) -> dict[str, str]:
    """Return the sha256 of each file that decides which tokens a text becomes, by its name."""
    found = {file.name: file for pattern in _TOKENIZER for file in sorted(model.glob(pattern)) if file.is_file()}
    try:
        return {name: sha256(file) for name, file in sorted(found.items())}
    except OSError as error:
        raise InputError(
            _("cannot read the tokenizer in `{model}`: {strerror}").format(
                model=model, strerror=error.strerror or error
            )
        ) from error


def ready_tokens(
    folder: Path, fingerprint: Fingerprint, template: ChatTemplate, make: Callable[[Path], tuple[Counts, Agreement]]
) -> ReadyTokens:
    """Return the tokens of this `fingerprint` in a `folder` of all, which `make` writes where they are not there yet.

    It writes into a folder that it is given, and finds there what an earlier start has left. Raises InputError where
    others stand there, or not all of them, SetupError where the folder cannot be read or written.
    """
    place = folder / fingerprint.key
    try:
        if found := _known(place, fingerprint):
            return found
        with locked(place, patience=-1):
            if found := _known(place, fingerprint):  # another process was quicker
                return found
            counts, agreement = _made(place, fingerprint, template, make)
    except OSError as error:
        raise SetupError(
            _("cannot keep tokens in `{place}`: {strerror}").format(place=place, strerror=error.strerror or error)
        ) from error
    return ReadyTokens(folder=place, fingerprint=fingerprint, counts=counts, agreement=agreement)


def _made(
    place: Path, fingerprint: Fingerprint, template: ChatTemplate, make: Callable[[Path], tuple[Counts, Agreement]]
) -> tuple[Counts, Agreement]:
    """Return what `make` returns of the tokens that it makes now; what was begun stays, for the next start."""
    unfinished = place.with_name(f"{place.name}{PART}")
    unfinished.mkdir(parents=True, exist_ok=True)
    try:
        counts, agreement = make(unfinished)
    except BaseException:
        with suppress(OSError):
            unfinished.rmdir()  # unless something was begun
        raise
    files = {file.name: file.stat().st_size for file in sorted(unfinished.iterdir()) if file.is_file()}
    record = _Record(fingerprint=fingerprint, counts=counts, agreement=agreement, template=template.text, files=files)
    write_json(unfinished / RECORD, record)
    unfinished.rename(place)
    return counts, agreement


def together(train: ReadyTokens, validation: ReadyTokens | None) -> Path:
    """Return the folder of one dataset, or of both as the DatasetDict of `train` and `validation`.

    That holds links to the folders themselves, which stand beside it.
    """
    if validation is None:
        return train.folder
    folder = train.folder.with_name(f"{train.folder.name}-{validation.folder.name}")
    with locked(folder):
        if not (folder / _DICT).is_file():
            folder.mkdir(exist_ok=True)
            for name, part in (("train", train), ("validation", validation)):
                link = folder / name
                link.unlink(missing_ok=True)
                link.symlink_to(Path("..", part.folder.name))
            write_json(folder / _DICT, {"splits": ["train", "validation"]})
    return folder


def _known(place: Path, fingerprint: Fingerprint) -> ReadyTokens | None:
    """Return the tokens in a folder, None where it is not there; raises InputError for others, or damaged ones."""
    if not place.exists():
        return None
    file, again = place / RECORD, _("delete it, and the tokens are made again")
    if not file.exists():
        raise InputError(
            _("`{place}` has no `{record}`, as ready tokens have; {again}").format(
                place=place, record=RECORD, again=again
            )
        )
    record = load_json(
        read_text(file, _("record")),
        _Record,
        _("`{file}` is not what ftbridge wrote ({again})").format(file=file, again=again),
    )
    if record.fingerprint != fingerprint:
        raise InputError(
            _("`{place}` holds the tokens of another dataset or tokenizer; {again}").format(place=place, again=again)
        )
    for name, size in record.files.items():
        path = place / Path(name).name
        if not path.is_file() or path.stat().st_size != size:
            raise InputError(
                _("`{place}` is damaged: `{name}` is incomplete; {again}").format(place=place, name=name, again=again)
            )
        if path.suffix == ".arrow" and not _is_of(path, fingerprint):
            raise InputError(
                _("`{place}` is damaged: `{name}` is of another dataset or tokenizer; {again}").format(
                    place=place, name=name, again=again
                )
            )
    return ReadyTokens(folder=place, fingerprint=fingerprint, counts=record.counts, agreement=record.agreement)


def _is_of(path: Path, fingerprint: Fingerprint) -> bool:
    """Tell whether a file's schema, with which it begins, names the fingerprint."""
    with path.open("rb") as file:
        return fingerprint.key.encode() in file.read(_SCHEMA)
