"""The own clients of Hugging Face and ModelScope: which files a dataset has, and where they lie once fetched."""

import glob
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ftbridge.core.errors import FtbridgeError, InputError, SetupError
from ftbridge.language import gettext as _


class Address(msgspec.Struct, frozen=True):
    """The parts of a URL `hub://name:config@split`; as a string, that URL."""

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


class Listing(msgspec.Struct, frozen=True):
    """The files of a revision with their bytes, and what identifies their content.

    `root` is where they lie, if they are here already.
    """

    sizes: dict[str, int]
    commit: str
    root: Path | None = None


class Hub(Protocol):
    """A hub's client, which lists and downloads datasets.

    `login_help` says what to do about a closed dataset, `unreachable_help` about a hub out of reach.
    """

    title: str
    main_revision: str
    login_help: str
    unreachable_help: str
    errors: tuple[type[Exception], ...]
    cache: Path

    def list_files(self, name: str, revision: str) -> Listing:
        """Return the files of a dataset."""

    def fetch(self, name: str, revision: str, files: list[str], folder: Path | None = None) -> Path:
        """Download files into the client's cache, or into `folder`; returns where they lie."""

    def cached_folder(self, name: str, revision: str) -> Path:
        """Return where files that were downloaded before lie."""

    def http_status(self, error: Exception) -> int | None:
        """Return the HTTP status of an error: 403 for what is closed, 404 for what is not there, None for no answer."""


class HuggingFace:
    """Hugging Face's client; HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are its own."""

    title, main_revision = _("Hugging Face"), "main"
    login_help = _("log in with `hf auth login` or HF_TOKEN")
    unreachable_help = _(
        "check the network, set HF_ENDPOINT to a mirror, or look for the dataset on ModelScope: ms://owner/name"
    )

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

    def list_files(self, name: str, revision: str) -> Listing:
        """See `Hub`."""
        from huggingface_hub.hf_api import HfApi, RepoFile

        with _protocol_errors(self.title, "HF_ENDPOINT"):
            # Without a network this request fails at once, the list only after retries of half a minute.
            commit = HfApi().dataset_info(name, revision=revision).sha
            tree = HfApi().list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
            return Listing({entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}, str(commit))

    def fetch(self, name: str, revision: str, files: list[str], folder: Path | None = None) -> Path:
        """See `Hub`."""
        patterns = [glob.escape(file) for file in files]
        return self._snapshot(name, revision, allow_patterns=patterns, local_dir=folder)

    def cached_folder(self, name: str, revision: str) -> Path:
        """See `Hub`."""
        return self._snapshot(name, revision, allow_patterns=["README.md"], local_files_only=True)

    def _snapshot(self, name: str, revision: str, **options: Any) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, repo_type="dataset", revision=revision, **options))

    def http_status(self, error: Exception) -> int | None:
        """See `Hub`."""
        if isinstance(error, self._errors.RepositoryNotFoundError):  # answered as 401 to those without a token
            return 403 if isinstance(error, self._errors.GatedRepoError) else 404
        if isinstance(error, self._errors.HFValidationError):  # no name that could be there
            return 404
        response = getattr(error, "response", None)
        return None if response is None else int(response.status_code)


class ModelScope:
    """ModelScope's client; MODELSCOPE_ENDPOINT, MODELSCOPE_API_TOKEN and MODELSCOPE_CACHE are its own."""

    title, main_revision = "ModelScope", "master"
    login_help = _("log in with `ms login` or MODELSCOPE_API_TOKEN")
    unreachable_help = _("check the network, or look for the dataset on Hugging Face: hf://owner/name")

    def __init__(self) -> None:
        from modelscope_hub import HubApi, HubConfig, HubError

        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
        config = HubConfig()
        self._api = HubApi(config)
        self.cache = config.cache_dir
        self.errors: tuple[type[Exception], ...] = (OSError, json.JSONDecodeError, HubError)

    def list_files(self, name: str, revision: str) -> Listing:
        """See `Hub`."""
        with _protocol_errors(self.title, "MODELSCOPE_ENDPOINT"):
            listed = self._api.list_repo_files(name, "dataset", revision=revision)
        files = [entry for entry in listed if entry.type != "tree"]
        content = repr(sorted((file.path, file.size, str(file.sha256), str(file.last_modified)) for file in files))
        return Listing({file.path: file.size for file in files}, hashlib.sha256(content.encode()).hexdigest())

    def fetch(self, name: str, revision: str, files: list[str], folder: Path | None = None) -> Path:
        """See `Hub`."""
        patterns = [glob.escape(file) for file in files]
        return self._api.download_repo(name, "dataset", revision=revision, local_dir=folder, allow_patterns=patterns)

    def cached_folder(self, name: str, revision: str) -> Path:
        """See `Hub`."""
        return self._api.download_repo(name, "dataset", revision=revision, local_files_only=True)

    def http_status(self, error: Exception) -> int | None:
        """See `Hub`."""
        failed: dict[str, Exception] = getattr(error, "failed_files", None) or {}
        error = next(iter(failed.values()), error)
        return getattr(error, "status_code", None)


def hub_client(address: Address) -> Hub:
    """Return the client of an address's hub; raises SetupError where it is not installed."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return HuggingFace() if address.hub == "hf" else ModelScope()
    except ImportError as error:
        raise SetupError(
            _("`{address}` needs the hub's client: `pip install '.[hub]'` in the clone of ftbridge").format(
                address=address
            )
        ) from error


@contextmanager
def _protocol_errors(title: str, variable: str) -> Iterator[None]:
    """Turn what the clients raise at an answer of another kind, as of a proxy, into SetupError."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise SetupError(
            _("got an unexpected answer from {title} ({name}); check the proxy, and the mirror in {variable}").format(
                title=title, name=type(error).__name__, variable=variable
            )
        ) from error


@contextmanager
def hub_errors(hub: Hub, address: Address) -> Iterator[None]:
    """Turn what a hub's client raises into InputError or SetupError of one sentence; its warnings are left out."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except FtbridgeError:
        raise
    except hub.errors as error:
        status = hub.http_status(error)
        if status == 404:  # noqa: PLR2004 - HTTP's numbers
            message = _("{title} has no dataset `{name}`, or it is private; check the name, or {login_help}").format(
                title=hub.title, name=address.name, login_help=hub.login_help
            )
            raise InputError(message) from error
        if status in {401, 403}:
            message = _("{title} refuses `{name}`: accept the terms on its page, if it has any, and ").format(
                title=hub.title, name=address.name
            )
            raise SetupError(message + hub.login_help) from error
        if status:
            raise SetupError(
                _("{title} answered with the error {status}; try again later").format(title=hub.title, status=status)
            ) from error
        if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
            raise SetupError(
                _("`{address}` cannot be stored below `{cache}`: {strerror}").format(
                    address=address, cache=hub.cache, strerror=error.strerror
                )
            ) from error
        raise SetupError(
            _("{title} cannot be reached ({name}): {unreachable_help}").format(
                title=hub.title, name=type(error).__name__, unreachable_help=hub.unreachable_help
            )
        ) from error
