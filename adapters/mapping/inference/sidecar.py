"""LLaMA-Factory's dataset_info.json beside a source, where it says how the source's columns are called.

    {"consultations": {"file_name": "talks.json", "formatting": "sharegpt", "columns": {"messages": "talk"},
                       "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "p", "assistant_tag": "d"}}}

An entry that names neither columns nor tags says no more than the file itself.
"""

from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, CALL, SYSTEM, TOOL, USER
from ftbridge.adapters.mapping.headers import untrainable_columns
from ftbridge.adapters.mapping.inference.infer import MappingOptions, TableMapping, infer_mapping
from ftbridge.core.errors import InputError
from ftbridge.core.records import Table
from ftbridge.dataset_info.entries import MEDIA, Entry, interpret_entry
from ftbridge.dataset_info.names import is_ours
from ftbridge.dataset_info.registry import FILE, read_entries
from ftbridge.language import gettext as _

# LLaMA-Factory's names of columns, and our fields.
FIELDS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}
PREFERENCES = {"chosen", "rejected", "kto_tag"}
TAGS = {
    "user_tag": USER,
    "assistant_tag": ASSISTANT,
    "system_tag": SYSTEM,
    "observation_tag": TOOL,
    "function_tag": CALL,
}


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """An entry's columns and tags: `map` maps fields to columns, `role` names to roles, `tags` are a message's keys.

    The columns in `refused` hold tools or media.
    """

    name: str
    map: dict[str, str]
    role: dict[str, str] = {}
    tags: dict[str, str] = {}
    refused: dict[str, str] = {}

    def infer_mapping(self, table: Table, options: MappingOptions) -> TableMapping:
        """Return how `table` is read by the entry; `options` win in roles. Raises UsageError where it does not fit."""
        options = replace(options, map=self.map, role=self.role | options.role, tags=self.tags)
        inferred = infer_mapping(
            table, options, None, _("as `{name}` in {file} says").format(name=self.name, file=FILE)
        )
        refused_columns = untrainable_columns(column for column in table.columns if column not in self.map.values())
        mapping = replace(inferred.mapping, refused_columns=refused_columns | self.refused)
        return replace(inferred, mapping=mapping)

    def with_note(self, table: Table) -> Table:
        """Return the table with a note to the user that the entry is followed."""
        note = _("columns{tags} are those of `{name}` in the {file} beside it").format(
            tags=_(" and tags") if self.tags else "", name=self.name, file=FILE
        )
        return replace(table, notes=(*table.notes, note))


def find_sidecar(path: Path | None, table: Table) -> Sidecar | None:
    """Return what a dataset_info.json beside the source at `path` says of its `table`, None where it says nothing.

    It stands in the folder of the source, or in the source where that is a folder. None, too, where entries disagree.
    Raises InputError where it says that the rows are preferences.
    """
    if path is None:
        return None
    path = path.resolve()
    entries = _entries_for_file(path.parent, path.name)
    if path.is_dir():
        entries += _entries_for_file(path, table.file)
    sidecars = [_sidecar_of_entry(name, raw, table) for name, raw in entries]
    fitting = [sidecar for sidecar in sidecars if sidecar]
    differing = {(*each.map.items(), *each.role.items(), *each.tags.items()) for each in fitting}
    return fitting[0] if len(differing) == 1 else None


def _entries_for_file(folder: Path, file_name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the entries for a file that name columns or tags and are not ours, by their names."""
    try:
        entries = read_entries(folder) if (folder / FILE).is_file() else {}
    except InputError:  # damaged, or no list of datasets
        return []
    return [
        (name, raw)
        for name, raw in entries.items()
        if isinstance(raw, dict) and not is_ours(raw) and raw.get("file_name") == file_name
        if "columns" in raw or "tags" in raw
    ]


def _sidecar_of_entry(name: str, raw: dict[str, Any], table: Table) -> Sidecar | None:
    """Return what an entry says of the table, None where it does not fit; raises InputError for preferences."""
    entry = interpret_entry(name, raw)
    if raw.get("ranking") or not PREFERENCES.isdisjoint(raw.get("columns") or ()):
        raise InputError(
            _(
                "`{name}` in the {file} beside `{table_file}` says that it holds preferences between "
                "answers, which supervised fine-tuning does not learn from; choose with `--map` which "
                "columns to use anyway"
            ).format(name=name, file=FILE, table_file=table.file)
        )
    if entry.problems:
        return None
    columns = {field: column for field, column in entry.columns.items() if column in table.columns}
    refused_columns = {columns[each]: "images, sound or video" for each in MEDIA if each in columns}
    if "tools" in columns:
        refused_columns[columns["tools"]] = "tools"
    if entry.formatting == "alpaca":
        return _sidecar_of_fields(entry, columns, refused_columns)
    return _sidecar_of_conversations(entry, columns, refused_columns)


def _sidecar_of_fields(entry: Entry, columns: dict[str, str], refused_columns: dict[str, str]) -> Sidecar | None:
    fields = {FIELDS[field]: column for field, column in columns.items() if field in FIELDS}
    if "output" not in fields or fields.keys().isdisjoint({"instruction", "input"}):
        return None
    return Sidecar(name=entry.name, map=fields, refused=refused_columns)


def _sidecar_of_conversations(entry: Entry, columns: dict[str, str], refused_columns: dict[str, str]) -> Sidecar | None:
    if "messages" not in columns:
        return None
    return Sidecar(
        name=entry.name,
        map={field: columns[field] for field in ("messages", "system") if field in columns},
        role={entry.tags[tag]: role for tag, role in TAGS.items() if tag in entry.tags},
        tags={tag: entry.tags[tag] for tag in ("role_tag", "content_tag")},
        refused=refused_columns,
    )
