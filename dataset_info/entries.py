"""Entries of dataset_info.json as LLaMA-Factory 0.9.5 reads them, and what keeps it from loading one.

    "alpaca_en_demo": {"file_name": "alpaca_en_demo.json"}
    "chats": {"file_name": "chats", "formatting": "sharegpt", "columns": {"messages": "turns"}, "tags": {...}}

The rules are those of its data/parser.py, data/loader.py and data/converter.py: keys that it does not know are
passed over, `file_name` is a file or a folder of files of one type, and the defaults of `columns` and `tags` hold
only where the whole map is absent.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.core.plugins import load_target
from ftbridge.dataset_info.names import CONVERSATIONS, MESSAGES
from ftbridge.language import gettext as _
from ftbridge.language import joined

REMOTE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
KEYS = (*REMOTE, "file_name", "formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags")
FORMATS = ("alpaca", "sharegpt", "openai")
COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "",
    "messages": "conversations",
    "system": "",
    "tools": "",
    "images": "",
    "videos": "",
    "audios": "",
    "chosen": "",
    "rejected": "",
    "kto_tag": "",
}
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
_MESSAGE_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function",
    "system_tag": "system",
}
# What it loads, by the file name's last ending.
TYPES = {"arrow": "arrow", "csv": "csv", "json": "json", "jsonl": "json", "parquet": "parquet", "txt": "text"}
MEDIA = ("images", "videos", "audios")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as LLaMA-Factory reads it: `columns` and `tags` hold what it looks for, and nothing else.

    `remote` is the hub's dataset, script or bucket where the data is not in a file here; `drawn` is what it draws
    of the records, `samples` their number where that is known. `problems` keep it from training on the entry,
    whatever its file holds; `notes` say what else it does.
    """

    name: str
    file_name: str
    remote: str = ""
    formatting: str = "alpaca"
    columns: dict[str, str] = {}
    tags: dict[str, str] = {}
    samples: int | None = None
    drawn: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def read_columns(self) -> list[str]:
        """Return the columns that must be there: it looks them up in every record."""
        if self.formatting == MESSAGES:  # which has tools where there are some
            return [self.columns["messages"]]
        fields = ["messages"] if self.formatting != "alpaca" else ["prompt", "query", "response", "history"]
        return [self.columns[field] for field in (*fields, "system", "tools", *MEDIA) if field in self.columns]


def interpret_entry(name: str, raw: Any) -> Entry:
    """Return the entry `name` as LLaMA-Factory reads it, with all that is wrong in it."""
    if not isinstance(raw, dict):
        return Entry(name=name, file_name="", problems=(_("is not a JSON object"),))
    problems, notes = _name_problems(name), _unknown_keys("", raw, (*KEYS, "ftbridge"))
    maps = {}
    for key, defaults in (("columns", COLUMNS), ("tags", TAGS)):
        given = raw.get(key, defaults)
        if not _maps_names(given):
            problems.append(_("`{key}` must be an object whose values are strings").format(key=key))
            given = {}
        notes += _unknown_keys(_(" in `{key}`").format(key=key), given, defaults)
        maps[key] = {field: given[field] for field in defaults if given.get(field)}
    remote = next((str(raw[key]) for key in REMOTE if key in raw), "")
    file_name = raw.get("file_name")
    if not isinstance(file_name, str):
        file_name = ""
    if not remote and not file_name:
        problems.append(_("has no `file_name`"))
    formatting = raw.get("formatting", "alpaca")
    problems += _kind_problems(raw, formatting, maps)
    samples = raw.get("num_samples")
    if formatting == "openai":
        notes.append(
            _('adds "detailed thinking off" to system prompts, as it does for `openai` and not for `sharegpt`')
        )
    return Entry(
        name=name,
        file_name=file_name,
        remote=remote,
        formatting=str(formatting),
        columns=maps["columns"],
        tags=maps["tags"],
        samples=samples if isinstance(samples, int) else None,
        drawn=_drawn(raw),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _maps_names(value: Any) -> bool:
    return isinstance(value, dict) and all(name is None or isinstance(name, str) for name in value.values())


def _drawn(raw: dict[str, Any]) -> str:
    """Return what LLaMA-Factory draws of the records, in its own words, "" where it takes all."""
    if isinstance(raw.get("num_samples"), int):
        return _("`num_samples` {num_samples}").format(num_samples=raw["num_samples"])
    split = raw.get("split", "train")
    return "" if split == "train" else _("`split` {split}").format(split=split)


def target_entry(target: str, name: str, file_name: str) -> Entry:
    """Return an entry for a file that was written for a `target`, also where LLaMA-Factory cannot read that itself."""
    if target == CONVERSATIONS:
        return Entry(name=name, file_name=file_name, formatting=CONVERSATIONS, columns={"messages": "conversation"})
    if target == MESSAGES:
        return Entry(
            name=name,
            file_name=file_name,
            formatting=MESSAGES,
            columns={"messages": "messages", "tools": "tools"},
            tags=_MESSAGE_TAGS,
        )
    return interpret_entry(name, {"file_name": file_name, **(load_target(target).entry or {})})


def data_files(dataset_dir: Path, entry: Entry) -> list[Path]:
    """Return the files of an entry, sorted; raises InputError where LLaMA-Factory would not take them."""
    path = dataset_dir / entry.file_name
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise InputError(
            _("its {exists}: `{path}`").format(
                exists=_("folder is empty") if path.exists() else _("file is missing"), path=path
            )
        )
    if folder := next((file for file in files if file.is_dir()), None):
        raise InputError(
            _("its folder holds another folder, `{folder}`, and must hold data files alone").format(folder=folder)
        )
    if empty := next((file for file in files if not file.stat().st_size), None):
        raise InputError(_("its file is empty: `{empty}`").format(empty=empty))
    types = {TYPES.get(file.suffix[1:]) for file in files}
    if None in types:
        odd = next(file for file in files if file.suffix[1:] not in TYPES)
        raise InputError(
            _("LLaMA-Factory loads files that end with .{types}, and not `{odd}`").format(
                types=joined(", .", TYPES), odd=odd
            )
        )
    if "text" in types:
        raise InputError(
            _("a text file has one column, `text`, and no answers to train on: `{file}`").format(file=files[0])
        )
    if len(types) > 1:
        raise InputError(
            _("its folder `{path}` holds files of several types: {map}").format(
                path=path, map=joined(", ", sorted(map(str, types)))
            )
        )
    return files


def _name_problems(name: str) -> list[str]:
    if "," in name:
        return [_("its name holds a comma, at which LLaMA-Factory cuts a list of names")]
    return [_("its name begins or ends with a blank, which LLaMA-Factory cuts off")] if name.strip() != name else []


def _unknown_keys(where: str, given: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    known = list(known)
    return [
        _("ignores the key `{key}`{where}{hint}").format(key=key, where=where, hint=closest(key, known))
        for key in given
        if key not in known
    ]


def _kind_problems(raw: dict[str, Any], formatting: Any, maps: dict[str, dict[str, str]]) -> list[str]:
    """Return what in an entry makes it useless for supervised training."""
    problems = []
    if raw.get("ranking") or "kto_tag" in maps["columns"]:
        problems.append(_("holds preferences (`ranking` or `kto_tag`), not answers to train on"))
    if formatting not in FORMATS:
        problems.append(
            _("LLaMA-Factory knows no `formatting` `{formatting}`{hint}").format(
                formatting=formatting, hint=closest(str(formatting), FORMATS)
            )
        )
    elif formatting == "alpaca":
        problems += _missing_keys("columns", ("response",), maps)
    else:
        problems += _missing_keys("columns", ("messages",), maps)
        problems += _missing_keys("tags", ("role_tag", "content_tag", "user_tag", "assistant_tag"), maps)
    count = raw.get("num_samples")
    if count is not None and not (isinstance(count, int) and count > 0):
        problems.append(
            _("its `num_samples` is `{count}`, and LLaMA-Factory takes a whole number from 1").format(
                count=json.dumps(count)
            )
        )
    split = str(raw.get("split", "train"))
    if split.partition("[")[0] != "train" and not any(key in raw for key in REMOTE):
        problems.append(_("asks for the split `{split}`, and a file has only `train`").format(split=split))
    return problems


def _missing_keys(key: str, needed: Iterable[str], maps: dict[str, dict[str, str]]) -> list[str]:
    missing = [f"`{field}`" for field in needed if field not in maps[key]]
    if not missing:
        return []
    return [
        _("`{key}` lacks {missing}; once `{key}` is given, its defaults no longer apply").format(
            key=key, missing=joined(", ", missing)
        )
    ]
