"""Datasets of Hugging Face and ModelScope: `hf://owner/name[:config][@split]`, `ms://owner/name[:config][@split]`.

The hubs' own clients list and download, with their caches, tokens and endpoints; only the files of the config and split
that are asked for are fetched, and read as those of a local folder are. What does not fit on the disk is read a file at
a time. No dataset script is run: of a repository that needs one, the hub's own conversion to parquet is read.
"""

import glob
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import msgspec

from ftbridge.adapters import layout
from ftbridge.adapters.class_labels import Labels
from ftbridge.adapters.sources.folder import files_below, left_out, open_files, what_is_there
from ftbridge.core.errors import FtbridgeError, InputError, SetupError
from ftbridge.core.plugins import Reading, Rows, Table
from ftbridge.core.records import Row

FIRST = 100
# Where Hugging Face keeps its conversions, as `config/split/0000.parquet`; of those over 5 GB only the beginning, in
# `config/partial-split/` (https://huggingface.co/docs/dataset-viewer/parquet).
CONVERTED = "refs/convert/parquet"
PARTIAL = "partial-"


class Address(msgspec.Struct, frozen=True):
    """What a URL names; prints as that URL."""

    hub: str
    name: str
    config: str = ""
    split: str = ""

    def __str__(self) -> str:
        config, split = self.config and f":{self.config}", self.split and f"@{self.split}"
        return f"{self.hub}://{self.name}{config}{split}"

    def of_config(self, config: str) -> str:
        """Return the URL of another config."""
        return str(msgspec.structs.replace(self, config=config))

    def of_split(self, split: str) -> str:
        """Return the URL of another split."""
        return str(msgspec.structs.replace(self, split=split))


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """What a revision of a dataset holds; `root` is where its files lie, if they are here already."""

    revision: str
    root: Path | None
    sizes: dict[str, int]
    configs: dict[str, layout.Splits]
    card: layout.Card
    notes: tuple[str, ...]


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The files to read, by part, and what is known of them."""

    repository: Repository
    files: list[tuple[str, list[str]]]
    labels: Labels
    notes: tuple[str, ...]


class Hub(Protocol):
    """A hub's client; `login` and `other` say what to do about a closed dataset, and about a hub out of reach."""

    title: str
    main: str
    login: str
    other: str
    errors: tuple[type[Exception], ...]
    cache: Path

    def sizes(self, name: str, revision: str) -> dict[str, int]:
        """Return the files of a dataset, with their bytes."""

    def fetch(self, name: str, revision: str, files: list[str], folder: Path | None = None) -> Path:
        """Download files into the client's cache, or into `folder`; returns where they lie."""

    def cached(self, name: str, revision: str) -> Path:
        """Return where files that were downloaded before lie."""

    def status(self, error: Exception) -> int | None:
        """Return the HTTP status of an error: 403 for what is closed, 404 for what is not there, None for no answer."""


class HuggingFace:
    """Hugging Face's client; HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are its own."""

    title, main = "Hugging Face", "main"
    login = "log in with `hf auth login` or HF_TOKEN"
    other = "check the network, set HF_ENDPOINT to a mirror, or look for the dataset on ModelScope: ms://owner/name"

    def __init__(self) -> None:
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        from huggingface_hub import constants, errors

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        self._errors = errors
        self.cache = Path(constants.HF_HUB_CACHE)
        # The base is `HTTPError` of the HTTP client, which has changed twice: without a network it is raised as it is.
        self.errors: tuple[type[Exception], ...] = (
            *(OSError, json.JSONDecodeError, errors.HFValidationError),
            *errors.HfHubHTTPError.__bases__[:1],
        )

    def sizes(self, name: str, revision: str) -> dict[str, int]:
        """See `Hub`."""
        from huggingface_hub.hf_api import HfApi, RepoFile

        # Without a network this request fails at once, the list only after retries of half a minute.
        commit = HfApi().dataset_info(name, revision=revision).sha
        tree = HfApi().list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
        return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}

    def fetch(self, name: str, revision: str, files: list[str], folder: Path | None = None) -> Path:
        """See `Hub`."""
        patterns = [glob.escape(file) for file in files]
        return self._snapshot(name, revision, allow_patterns=patterns, local_dir=folder)

    def cached(self, name: str, revision: str) -> Path:
        """See `Hub`."""
        return self._snapshot(name, revision, allow_patterns=["README.md"], local_files_only=True)

    def _snapshot(self, name: str, revision: str, **options: Any) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, repo_type="dataset", revision=revision, **options))

    def status(self, error: Exception) -> int | None:
        """See `Hub`."""
        if isinstance(error, self._errors.RepositoryNotFoundError):  # answered as 401 to those without a token
            return 403 if isinstance(error, self._errors.GatedRepoError) else 404
        if isinstance(error, self._errors.HFValidationError):  # no name that could be there
            return 404
        response = getattr(error, "response", None)
        return None if response is None else int(response.status_code)


class ModelScope:
    """ModelScope's client; MODELSCOPE_ENDPOINT, MODELSCOPE_API_TOKEN and MODELSCOPE_CACHE are its own."""

    title, main = "ModelScope", "master"
    login = "log in with `ms login` or MODELSCOPE_API_TOKEN"
    other = "check the network, or look for the dataset on Hugging Face: hf://owner/name"

    def __init__(self) -> None:
        from modelscope_hub import HubApi, HubConfig, HubError

        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
        config = HubConfig()
        self._api = HubApi(config)
        self.cache = config.cache_dir
        self.errors: tuple[type[Exception], ...] = (OSError, json.JSONDecodeError, HubError)

    def sizes(self, name: str, revision: str) -> dict[str, int]:
        """See `Hub`."""
        listed = self._api.list_repo_files(name, "dataset", revision=revision)
        return {entry.path: entry.size for entry in listed if entry.type != "tree"}

    def fetch(self, name: str, revision: str, files: list[str], folder: Path | None = None) -> Path:
        """See `Hub`."""
        patterns = [glob.escape(file) for file in files]
        return self._api.download_repo(name, "dataset", revision=revision, local_dir=folder, allow_patterns=patterns)

    def cached(self, name: str, revision: str) -> Path:
        """See `Hub`."""
        return self._api.download_repo(name, "dataset", revision=revision, local_files_only=True)

    def status(self, error: Exception) -> int | None:
        """See `Hub`."""
        failed: dict[str, Exception] = getattr(error, "failed_files", None) or {}
        error = next(iter(failed.values()), error)
        return getattr(error, "status_code", None)


def open_url(url: str, reading: Reading) -> list[Table]:
    """Open a dataset of a hub: a table for each file, with the part it is of, or for each split that is streamed.

    Raises InputError for a dataset, config or split that is not there, SetupError where the client is not installed,
    or the hub cannot be reached or refuses.
    """
    address = parse(url)
    hub = _hub(address)
    with _told(hub, address):
        chosen = _choose(_repository(hub, address), address)
        repository, names = chosen.repository, [name for _, names in chosen.files for name in names]
        if repository.root is None and (large := _too_large(hub, address, repository, names)):
            notes = (*chosen.notes, large)
            parts = [msgspec.structs.replace(chosen, files=[part], notes=notes) for part in chosen.files]
            return [_streamed(hub, address, part, reading) for part in parts]
        root = repository.root or hub.fetch(address.name, repository.revision, names)
    return open_files(root, chosen.files, chosen.labels, reading, chosen.notes)


def parse(url: str) -> Address:
    """Return what `url` names; raises InputError for what is no such URL."""
    match = re.fullmatch(r"(hf|ms)://(\w[\w.-]*/\w[\w.-]*)(?::([\w. +-]+))?(?:@([\w.-]+))?", url)
    if not match:
        raise InputError(f"`{url}` names no dataset; write hf://owner/name or ms://owner/name, then :config and @split")
    return Address(*(group or "" for group in match.groups()))


def _hub(address: Address) -> Hub:
    try:
        with warnings.catch_warnings(action="ignore"):
            return HuggingFace() if address.hub == "hf" else ModelScope()
    except ImportError as error:
        raise SetupError(f"`{address}` needs the hub's client: pip install 'ftbridge[hub]'") from error


@contextmanager
def _told(hub: Hub, address: Address) -> Iterator[None]:
    """Turn what the clients raise into one sentence each; their warnings are for programmers."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except FtbridgeError:
        raise
    except hub.errors as error:
        status = hub.status(error)
        if status == 404:  # noqa: PLR2004 - HTTP's numbers
            message = f"{hub.title} has no dataset `{address.name}`, or it is private; check the name, or {hub.login}"
            raise InputError(message) from error
        if status in {401, 403}:
            message = (
                f"{hub.title} does not give you `{address.name}`: accept the terms on its page, if it has any, and "
            )
            raise SetupError(message + hub.login) from error
        if status:
            raise SetupError(f"{hub.title} answered with the error {status}; try again later") from error
        if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
            raise SetupError(f"`{address}` cannot be stored below `{hub.cache}`: {error.strerror}") from error
        raise SetupError(f"{hub.title} cannot be reached ({type(error).__name__}): {hub.other}") from error


def _repository(hub: Hub, address: Address) -> Repository:
    """Return what the repository holds, or of one that only its script can read, the hub's conversion."""
    root, sizes, notes = _listed(hub, address, hub.main)
    card = layout.Card()
    if "README.md" in sizes:
        card, broken = layout.card(root or hub.fetch(address.name, hub.main, ["README.md"]))
        notes += broken
    declared = any(config.data_files or config.data_dir for config in card.configs or [])
    configs = layout.configs(sizes if declared else _one_format(sizes), card)
    script = f"{address.name.rpartition('/')[2]}.py" in sizes and not declared
    if address.hub == "hf" and (script or not configs):
        try:
            there, converted, told = _listed(hub, address, CONVERTED)
        except hub.errors as error:
            if hub.status(error) != 404:  # noqa: PLR2004 - there is no conversion
                raise
        else:
            if found := _by_folder(converted):
                return Repository(revision=CONVERTED, root=there, sizes=converted, configs=found, card=card, notes=told)
    if not configs:
        raise InputError(f"`{address}` holds no data that can be read{what_is_there(sizes)}")
    notes += left_out(sizes, configs)
    return Repository(revision=hub.main, root=root, sizes=sizes, configs=configs, card=card, notes=notes)


def _choose(repository: Repository, address: Address) -> Chosen:
    """Return the files of the config and split that `address` names; raises InputError where it names none."""
    configs = repository.configs
    config = layout.choose(configs, address.config, repository.card.default())
    if config is None:
        raise InputError(_unclear(address, "config", address.config, map(address.of_config, configs)))
    splits = configs[config]
    if address.split:
        split = layout.choose(splits, address.split, "train")
        if split is None:
            raise InputError(_unclear(address, "split", address.split, map(address.of_split, splits)))
        files = [("", splits[split])]
    else:
        files = layout.parts(splits, address.of_split)
    notes = repository.notes
    if any(f"/{PARTIAL}" in name for _, names in files for name in names):
        notes += (f"Hugging Face converted only the first 5 GB of `{address}`: this is a part of it",)
    return Chosen(repository=repository, files=files, labels=repository.card.labels(config), notes=notes)


def _listed(hub: Hub, address: Address, revision: str) -> tuple[Path | None, dict[str, int], tuple[str, ...]]:
    """Return the files of a revision with their sizes; without a network, of what was downloaded before, and where."""
    try:
        return None, hub.sizes(address.name, revision), ()
    except hub.errors as error:
        if hub.status(error) is not None:
            raise
        try:
            root = hub.cached(address.name, revision)
        except hub.errors:
            raise error from None
    sizes = {name: (root / name).stat().st_size for name in files_below(root)}
    return root, sizes, (f"{hub.title} cannot be reached; this is what was downloaded before: {root}",)


def _by_folder(names: Iterable[str]) -> dict[str, layout.Splits]:
    found: dict[str, layout.Splits] = {}
    for name in layout.data_files(name for name in names if name.count("/") > 1):
        config, split, _ = name.split("/", 2)
        found.setdefault(config, {}).setdefault(split.removeprefix(PARTIAL), []).append(name)
    return found


def _one_format(names: Iterable[str]) -> list[str]:
    """Return the data files of the format that most of them have, as `datasets` does: the others are no data."""
    files = layout.data_files(names)
    suffixes = Counter(PurePosixPath(file).suffix for file in files)
    return [file for file in files if PurePosixPath(file).suffix == suffixes.most_common(1)[0][0]]


def _unclear(address: Address, kind: str, wanted: str, urls: Iterable[str]) -> str:
    reason = f"has no {kind} `{wanted}`" if wanted else f"has several {kind}s"
    return f"`{address.hub}://{address.name}` {reason}; give one of these: {', '.join(f'`{url}`' for url in urls)}"


def _too_large(hub: Hub, address: Address, repository: Repository, names: list[str]) -> str:
    """Return a note where files that are not here yet do not fit on the cache's disk, else ""."""
    sizes = [repository.sizes[name] for name in names]
    if sum(sizes) <= (free := _free(hub.cache)):
        return ""
    try:
        root = hub.cached(address.name, repository.revision)
    except hub.errors:
        root = hub.cache
    missing = sum(size for name, size in zip(names, sizes, strict=True) if not (root / name).is_file())
    if missing <= free:
        return ""
    scratch = Path(tempfile.gettempdir())
    if max(sizes) > _free(scratch):
        raise SetupError(
            f"`{address}` has {_gigabytes(missing)}, one file {_gigabytes(max(sizes))}: neither `{hub.cache}` "
            f"({_gigabytes(free)} free) nor `{scratch}` ({_gigabytes(_free(scratch))}) has room; set HF_HOME, "
            "MODELSCOPE_CACHE or TMPDIR to a folder on a larger disk"
        )
    return f"{_gigabytes(missing)} do not fit below `{hub.cache}`: files are fetched one after another, and not kept"


def _streamed(hub: Hub, address: Address, chosen: Chosen, reading: Reading) -> Table:
    """Return one table of all files of a split, each of them there only while it is read."""
    rows = _passing_rows(hub, address, chosen, reading)
    first = tuple(islice(rows, FIRST))
    ((part, _),) = chosen.files
    return Table(
        file=str(address),
        columns=tuple(dict.fromkeys(key for row in first for key in row.values)),
        pieces=[Rows(chain(first, rows))],
        first=first,
        part=part,
        notes=chosen.notes,
        streamed=True,
    )


def _passing_rows(hub: Hub, address: Address, chosen: Chosen, reading: Reading) -> Iterator[Row]:
    ((_, names),) = chosen.files
    for name in names:
        with tempfile.TemporaryDirectory(prefix="ftbridge-") as folder:
            with _told(hub, address):
                root = hub.fetch(address.name, chosen.repository.revision, [name], Path(folder))
            for table in open_files(root, [("", [name])], chosen.labels, reading):
                before = last = 0
                for piece in table.pieces:
                    for row in piece.rows():
                        last = before + row.where.row
                        yield msgspec.structs.replace(row, where=msgspec.structs.replace(row.where, row=last))
                    before = last


def _free(path: Path) -> int:
    """Return the free bytes of the disk that `path`, which may not be there yet, is on."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
