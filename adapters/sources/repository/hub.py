"""Datasets of Hugging Face and ModelScope: `hf://owner/name[:config][@split]`, `ms://owner/name[:config][@split]`.

The hubs' own clients list and download, with their caches, tokens and endpoints; only the files of the config and split
that are asked for are fetched, and read as those of a local folder are. What does not fit on the disk is read a file at
a time. No dataset script is run: of a repository that needs one, the hub's own conversion to parquet is read.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path, PurePosixPath

import msgspec

from ftbridge.adapters.sources import split_names
from ftbridge.adapters.sources.columnar.class_labels import Labels
from ftbridge.adapters.sources.repository import layout
from ftbridge.adapters.sources.repository.folder import open_files
from ftbridge.adapters.sources.repository.hub_clients import Address, Hub, Listing, hub_client, hub_errors
from ftbridge.adapters.sources.repository.layout import NAMES_SHOWN, files_below, left_out_notes, other_files_message
from ftbridge.core.console import first_few, natural_size
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.records import FIRST, Reading, Row, Rows, Table
from ftbridge.language import gettext as _
from ftbridge.language import joined

# Control characters, half a letter, and what Windows takes for a folder or a drive.
_STRANGE_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\\]|^[A-Za-z]:")
# Bytes that the file systems take, less what a cache's folder has.
LONGEST_NAME, LONGEST_PART = 3000, 250
# Where Hugging Face keeps its conversions, as `config/split/0000.parquet`; of those over 5 GB only the beginning, in
# `config/partial-split/` (https://huggingface.co/docs/dataset-viewer/parquet).
CONVERTED = "refs/convert/parquet"
PARTIAL = "partial-"


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a revision of a dataset, their configs and splits, and its card."""

    revision: str
    listing: Listing
    configs: dict[str, layout.Splits]
    card: layout.DatasetCard
    notes: tuple[str, ...]


class ChosenFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The files to read, by part, with the names of their class labels and notes for the user."""

    repository: Repository
    files: list[tuple[str, list[str]]]
    labels: Labels
    notes: tuple[str, ...]


def open_url(url: str, reading: Reading) -> list[Table]:
    """Open a dataset of a hub: a table for each file, with the part it is of, or for each split that is streamed.

    Raises InputError for a dataset, config or split that is not there, SetupError where the client is not installed,
    or the hub cannot be reached or refuses.
    """
    address = parse_address(url)
    hub = hub_client(address)
    with hub_errors(hub, address):
        chosen = _choose_files(_read_repository(hub, address), address)
        repository, names = chosen.repository, [name for _unused, names in chosen.files for name in names]
        listing = repository.listing
        if listing.root is None and (large := _disk_note(hub, address, repository, names)):
            chosen = msgspec.structs.replace(chosen, notes=(*chosen.notes, large))
            return [_streamed_table(hub, address, chosen, split, reading) for split in chosen.files]
        root = listing.root or hub.fetch(address.name, repository.revision, names)
    tables = open_files(root, chosen.files, chosen.labels, reading, chosen.notes)
    return [msgspec.structs.replace(table, revision=listing.commit) for table in tables]


def parse_address(url: str) -> Address:
    """Return what `url` names; raises InputError for what is no such URL."""
    match = re.fullmatch(r"(hf|ms)://(\w[\w.-]*/\w[\w.-]*)(?::([\w. +-]+))?(?:@([\w.-]+))?", url)
    if not match:
        raise InputError(
            _(
                "`{url}` does not name a dataset; write hf://owner/name or ms://owner/name, then :config and @split"
            ).format(url=url)
        )
    return Address(*(group or "" for group in match.groups()))


def names_file(name: str) -> bool:
    """Tell whether a hub's name for a file is that of one in a folder, on any system, and harmless to show."""
    parts = name.split("/")
    return (
        not _STRANGE_NAME.search(name)
        and not {"", ".", ".."} & {*parts}
        and len(name.encode()) <= LONGEST_NAME
        and all(len(part.encode()) <= LONGEST_PART for part in parts)
    )


def _read_repository(hub: Hub, address: Address) -> Repository:
    """Return what the repository holds, or of one that only its script can read, the hub's conversion."""
    listing, notes = _list_files(hub, address, hub.main_revision)
    sizes = listing.sizes
    card = layout.DatasetCard()
    if "README.md" in sizes:
        card, broken = layout.read_dataset_card(
            listing.root or hub.fetch(address.name, hub.main_revision, ["README.md"])
        )
        notes += broken
    declared = any(config.data_files or config.data_dir for config in card.configs or [])
    configs = layout.configs(sizes if declared else _files_of_main_format(sizes), card)
    script = f"{address.name.rpartition('/')[2]}.py" in sizes and not declared
    if address.hub == "hf" and (script or not configs) and (converted := _parquet_conversion(hub, address, card)):
        return converted
    if not configs:
        raise InputError(
            _("`{address}` holds no data that can be read{other_files_message}").format(
                address=address, other_files_message=other_files_message(sizes)
            )
        )
    notes += left_out_notes(sizes, configs)
    return Repository(revision=hub.main_revision, listing=listing, configs=configs, card=card, notes=notes)


def _parquet_conversion(hub: Hub, address: Address, card: layout.DatasetCard) -> Repository | None:
    """Return the hub's own conversion of a repository, None where there is none."""
    try:
        listing, notes = _list_files(hub, address, CONVERTED)
    except hub.errors as error:
        if hub.http_status(error) != 404:  # noqa: PLR2004 - not there
            raise
        return None
    configs = _configs_by_folder(listing.sizes)
    return Repository(revision=CONVERTED, listing=listing, configs=configs, card=card, notes=notes) if configs else None


def _choose_files(repository: Repository, address: Address) -> ChosenFiles:
    """Return the files of the config and split that `address` names; raises InputError where it names none."""
    configs = repository.configs
    config = layout.choose_name(configs, address.config, repository.card.default())
    if config is None:
        raise InputError(_choice_message(address, "config", address.config, map(address.of_config, configs)))
    splits = configs[config]
    if address.split:
        split = layout.choose_name(splits, address.split, "train")
        if split is None:
            raise InputError(_choice_message(address, "split", address.split, map(address.of_split, splits)))
        files = [("", splits[split])]
    else:
        files = split_names.parts_of_splits(splits, address.of_split)
    notes = repository.notes
    if any(f"/{PARTIAL}" in name for _unused, names in files for name in names):
        notes += (
            _("Hugging Face converted only the first 5 GB of `{address}`: this is a part of it").format(
                address=address
            ),
        )
    return ChosenFiles(repository=repository, files=files, labels=repository.card.labels(config), notes=notes)


def _list_files(hub: Hub, address: Address, revision: str) -> tuple[Listing, tuple[str, ...]]:
    """Return the files of a revision, and notes: on names that are none, and where the hub is out of reach.

    Then it is of what was downloaded before.
    """
    try:
        listing = hub.list_files(address.name, revision)
        strange = [name for name in listing.sizes if not names_file(name)]
        if not strange:
            return listing, ()
        sizes = {name: size for name, size in listing.sizes.items() if names_file(name)}
        shown = first_few([*map(ascii, strange)], NAMES_SHOWN)
        note = _("skipped files whose names are not valid: {shown}").format(shown=shown)
        return msgspec.structs.replace(listing, sizes=sizes), (note,)
    except hub.errors as error:
        if hub.http_status(error) is not None:
            raise
        try:
            root = hub.cached_folder(address.name, revision)
        except hub.errors:
            raise error from None
    sizes = {name: (root / name).stat().st_size for name in files_below(root)}
    note = _("{title} cannot be reached; this is what was downloaded before: {root}").format(title=hub.title, root=root)
    return Listing(sizes, root.name, root), (note,)


def _configs_by_folder(names: Iterable[str]) -> dict[str, layout.Splits]:
    """Return the data files of a conversion by config and split, which are its folders."""
    found: dict[str, layout.Splits] = {}
    for name in layout.data_files(name for name in names if name.count("/") > 1):
        config, split, _unused = name.split("/", 2)
        found.setdefault(config, {}).setdefault(split.removeprefix(PARTIAL), []).append(name)
    return found


def _files_of_main_format(names: Iterable[str]) -> list[str]:
    """Return the data files of the format that most of them have, as `datasets` does: the others are no data."""
    files = layout.data_files(names)
    suffixes = Counter(PurePosixPath(file).suffix for file in files)
    return [file for file in files if PurePosixPath(file).suffix == suffixes.most_common(1)[0][0]]


def _choice_message(address: Address, kind: str, wanted: str, urls: Iterable[str]) -> str:
    """Return the message that asks for one of several `urls`, each of a config or split."""
    if wanted:
        absent = _("has no config `{wanted}`") if kind == "config" else _("has no split `{wanted}`")
        reason = absent.format(wanted=wanted)
    else:
        reason = _("has several configs") if kind == "config" else _("has several splits")
    return _("`{hub}://{name}` {reason}; give one of these: {urls}").format(
        hub=address.hub, name=address.name, reason=reason, urls=joined(", ", (f"`{url}`" for url in urls))
    )


def _disk_note(hub: Hub, address: Address, repository: Repository, names: list[str]) -> str:
    """Return a note where files that are not here yet do not fit on the cache's disk, else ""."""
    sizes = [repository.listing.sizes[name] for name in names]
    if sum(sizes) <= (free := _free_bytes(hub.cache)):
        return ""
    try:
        root = hub.cached_folder(address.name, repository.revision)
    except hub.errors:
        root = hub.cache
    missing = sum(size for name, size in zip(names, sizes, strict=True) if not (root / name).is_file())
    if missing <= free:
        return ""
    scratch = Path(tempfile.gettempdir())
    if max(sizes) > (scratch_free := _free_bytes(scratch)):
        raise SetupError(
            _(
                "`{address}` has {missing}, the largest file {max}: neither `{cache}` ({free} free) nor "
                "`{scratch}` ({scratch_free}) has room; set HF_HOME, MODELSCOPE_CACHE or TMPDIR to a folder "
                "on a larger disk"
            ).format(
                address=address,
                missing=natural_size(missing),
                max=natural_size(max(sizes)),
                cache=hub.cache,
                free=natural_size(free),
                scratch=scratch,
                scratch_free=natural_size(scratch_free),
            )
        )
    return _("{missing} do not fit below `{cache}`: files are fetched one after another, and not kept").format(
        missing=natural_size(missing), cache=hub.cache
    )


def _streamed_table(
    hub: Hub, address: Address, chosen: ChosenFiles, split: tuple[str, list[str]], reading: Reading
) -> Table:
    """Return one table of all files of a split, given with its part, each of them there only while it is read."""
    part, names = split
    rows = _streamed_rows(hub, address, chosen, names, reading)
    first = tuple(islice(rows, FIRST))
    return Table(
        file=str(address),
        columns=tuple(dict.fromkeys(key for row in first for key in row.values)),
        pieces=[Rows(chain(first, rows))],
        first=first,
        part=part,
        notes=chosen.notes,
        streamed=True,
        revision=chosen.repository.listing.commit,
    )


def _streamed_rows(
    hub: Hub, address: Address, chosen: ChosenFiles, names: Sequence[str], reading: Reading
) -> Iterator[Row]:
    for name in names:
        with tempfile.TemporaryDirectory(prefix="ftbridge-") as folder:
            with hub_errors(hub, address):
                root = hub.fetch(address.name, chosen.repository.revision, [name], Path(folder))
            for table in open_files(root, [("", [name])], chosen.labels, reading):
                yield from table.rows()


def _free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that `path`, which may not be there yet, is on."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free
