"""Signatures by which this user's ftbridge knows on this machine what it wrote itself.

They are HMAC-SHA256 with a key that lies in the user's own data folder: who may write where a record lies cannot sign.
"""

import hmac
import os
import secrets
import stat
from functools import cache
from pathlib import Path

from ftbridge.core.console import say
from ftbridge.core.errors import SetupError
from ftbridge.core.files.atomic import locked
from ftbridge.core.files.owner import data_folder, is_own
from ftbridge.language import gettext as _

SIZE = 32  # bytes of the key
UNSIGNED = _("runs stay unsigned, and `--resume` of them needs `--trust-checkpoint`")


def sign(content: bytes, *, consequence: str = UNSIGNED) -> str:
    """Return the signature of `content`; "" where there can be no key, which is said once, with any `consequence`."""
    try:
        file = data_folder() / "key"
        if not file.exists():
            _make_key(file)
        key = _read_key(file)
    except (OSError, RuntimeError) as error:  # SetupError is a RuntimeError, and so is to have no home
        if consequence:
            _warn_once(_("warning: {error}; {consequence}").format(error=error, consequence=consequence))
        return ""
    return _signature(key, content)


def is_signed(content: bytes, signature: str) -> bool:
    """Tell whether `signature` is this machine's for `content`; a key that cannot be used is said once."""
    try:
        key = _read_key(data_folder() / "key")
    except FileNotFoundError:
        return False
    except (OSError, RuntimeError) as error:
        _warn_once(_("warning: {error}; no run counts as signed").format(error=error))
        return False
    return hmac.compare_digest(_signature(key, content).encode(), signature.encode())


def _signature(key: bytes, content: bytes) -> str:
    return hmac.digest(key, content, "sha256").hex()


def _read_key(file: Path) -> bytes:
    """Return the key; raises SetupError where somebody else may know it, where it is none, or is not to be read."""
    try:
        opened = file.open("rb")
    except PermissionError as error:
        raise SetupError(
            _(
                "you have no permission to read the key `{file}`; if root made it, `sudo chown -R $USER {parent}`"
            ).format(file=file, parent=file.parent)
        ) from error
    with opened:
        status = os.fstat(opened.fileno())
        key = opened.read(SIZE + 1)
    if not is_own(status) or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SetupError(
            _(
                "others can read or write the key `{file}`, so it signs nothing: `chmod 600` it, or name "
                "another data folder by XDG_DATA_HOME; a new key would make all earlier runs unsigned"
            ).format(file=file)
        )
    if len(key) != SIZE:
        raise SetupError(
            _("`{file}` is not a {size}-byte key; remove it to get a new one").format(file=file, size=SIZE)
        )
    return key


def _make_key(file: Path) -> None:
    """Put a new key at `file` in one step, never readable for others, unless another process has done so."""
    with locked(file):
        if file.exists():
            return
        scratch = file.with_name(f".{file.name}.part")
        scratch.unlink(missing_ok=True)  # of a process that was killed: only who holds the lock writes it
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(secrets.token_bytes(SIZE))
            opened.flush()
            os.fsync(opened.fileno())
        scratch.rename(file)


@cache
def _warn_once(message: str) -> None:
    say(message)
