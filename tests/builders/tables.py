"""Tables of given records, and the samples that they make."""

import json

import msgspec

from ftbridge.adapters.mapping.inference.infer import MappingOptions, infer_mapping
from ftbridge.adapters.targets import alpaca
from ftbridge.core.records import Row, Rows, Table, Where

GOOD = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def table(*records, columns=None, as_json=False, lettered=False):
    """Return the table of these records."""
    if as_json:
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        records = [decode(msgspec.json.encode(record)) for record in records]
    rows = tuple(Row(Where("faq.jsonl", number), dict(values)) for number, values in enumerate(records, 1))
    names = columns or tuple(dict.fromkeys(key for row in rows for key in row.values))
    return Table(file="faq.jsonl", columns=names, pieces=[Rows(iter(rows))], first=rows[:100], lettered=lettered)


def choose(source, **wish):
    """Return what is inferred of a table."""
    return infer_mapping(source, MappingOptions(**wish), None)


def samples(source, choice, target=alpaca):
    """Return the samples of a table, read as was chosen."""
    rows = [row for piece in source.pieces for row in piece.rows()]
    return [json.loads(msgspec.json.encode(target.sample(choice.mapping.conversation(row)))) for row in rows]


def taken(options):
    """Return the options of an answer as wishes."""
    given = {"map": {}}
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "--map":
            given["map"] |= [value.split("=", 1)]
        else:
            given[option.removeprefix("--")] = value
    return given


def made_of(record, options):
    """Return the sample of a record, read as the options of an answer say."""
    source = table(record)
    return samples(source, choose(source, **taken(options)))
