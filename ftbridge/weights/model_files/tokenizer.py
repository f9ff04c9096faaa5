"""The files of a tokenizer: which of them a new folder gets, and what they hold."""

import filecmp
import shutil
from pathlib import Path

from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import gettext as _
from ftbridge.weights.model_files.transformers4 import is_new_tokenizer, make_tokenizer_for_both

CHAT_TEMPLATE = ("chat_template*",)
TOKENIZER = (
    *CHAT_TEMPLATE, "tokenizer*", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json",
    "tokenization_*.py", "spiece.model",
)  # fmt: skip


def copy_tokenizer(own: Path, base: Path, folder: Path) -> None:
    """Copy the tokenizer of `own` into `folder`, and what it lacks of the base's; transformers 4.57 can read it, too.

    What transformers 5 has saved anew has lost what only 4.57 looks at. So the base's own files are taken where they
    have the same tokens, or `own` has none of its own; a chat template of `own` counts in any case.
    """
    patterns = CHAT_TEMPLATE if _is_saved_anew(own, base) else TOKENIZER
    copy_files(own, folder, patterns, overwrite=False)
    copy_files(base, folder, TOKENIZER, overwrite=False)
    make_tokenizer_for_both(folder)


def copy_files(source: Path, target: Path, patterns: tuple[str, ...], *, overwrite: bool) -> None:
    """Copy the files of `source` that match a pattern into `target`."""
    for file in (file for pattern in patterns for file in source.glob(pattern) if file.is_file()):
        if overwrite or not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)


def token_ids(folder: Path) -> dict[str, int]:
    """Return the id of each token that the tokenizer's JSON files name."""
    try:
        return _read_token_ids(folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            _("the tokenizer in `{folder}` is damaged: {name}: {error}").format(
                folder=folder, name=type(error).__name__, error=error
            )
        ) from error


def refuse_other_vocabulary(adapter: Path, base: Path) -> None:
    """Raise InputError where the tokenizer beside an adapter gives other ids to the tokens of the base's.

    Such an adapter may fit in all its shapes, and answers nonsense. Further tokens are no contradiction.
    """
    own, known = adapter / "tokenizer.json", base / "tokenizer.json"
    if not own.is_file() or not known.is_file() or filecmp.cmp(own, known, shallow=False):
        return
    try:
        theirs, ours = token_ids(adapter), token_ids(base)
    except InputError:  # which is told where it is needed
        return
    others = sorted(token for token in theirs.keys() & ours.keys() if theirs[token] != ours[token])
    if others:
        raise InputError(
            _("the adapter `{adapter}` was trained with another vocabulary than that of `{base}`: {count} have "
              "other ids, such as `{token}` ({theirs}, and {ours} in the base); name the base that it was trained on "
              "with `--model`").format(
                adapter=adapter,
                base=base,
                count=counted(len(others), "token"),
                token=others[0],
                theirs=theirs[others[0]],
                ours=ours[others[0]],
            )
        )  # fmt: skip


def special_tokens(folder: Path) -> set[str]:
    """Return the names of the tokens that the tokenizer's JSON files call special."""
    names = ("tokenizer.json", "tokenizer_config.json")
    tokenizer, config = (read_json(folder / name) if (folder / name).is_file() else {} for name in names)
    listed, decoder = tokenizer.get("added_tokens"), config.get("added_tokens_decoder")
    found = [*(listed if isinstance(listed, list) else []), *(decoder.values() if isinstance(decoder, dict) else [])]
    return {str(token["content"]) for token in found if isinstance(token, dict) and token.get("special")}


def _is_saved_anew(own: Path, base: Path) -> bool:
    config = own / "tokenizer_config.json"
    if own == base or not config.is_file() or not (base / "tokenizer.json").is_file():
        return False
    return is_new_tokenizer(read_json(config)) and token_ids(own) in ({}, token_ids(base))


def _read_token_ids(folder: Path) -> dict[str, int]:
    names = ("tokenizer.json", "added_tokens.json", "tokenizer_config.json")
    tokenizer, added, config = (read_json(folder / name) if (folder / name).is_file() else {} for name in names)
    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    decoder = config.get("added_tokens_decoder") or {}
    return {
        **(vocabulary if isinstance(vocabulary, dict) else {}),
        **{token["content"]: token["id"] for token in tokenizer.get("added_tokens") or []},
        **{token: number for token, number in added.items() if isinstance(number, int)},
        **{token["content"]: int(number) for number, token in decoder.items()},
    }
