import msgspec
from ftbridge.adapters.columns import choose, letter
from ftbridge.adapters.mapping import Mapping


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    map: dict[str, str] = {}
    system: str | None = None
    instruction: str | None = None
    input: str | None = None
    output: str | None = None
    label_map: dict[str, str] = {}
    stratify: str = ""
    strip: bool = False


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    mapping: Mapping
    shape: str
    columns: dict[str, str]
    left_out: tuple[str, ...]
    why: tuple[str, ...]


def read_as(table, wish, preset):
    columns = choose(table, wish.map or (preset.columns if preset else None))
    system = wish.system if wish.system is not None else preset.system if preset else ""
    letters = {field: letter(table.columns.index(column) + 1) for field, column in columns.items()}
    return Choice(
        mapping=Mapping(columns, frozenset(table.columns), letters if table.lettered else {}, system),
        shape="",
        columns=columns,
        left_out=tuple(c for c in table.columns if c not in columns.values()),
        why=(),
    )


def load_label_map(path):
    return {}
