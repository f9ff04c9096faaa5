"""Changes to a file's content that a reader should survive: in its bytes, in its values, and in what it packs."""

import contextlib
import gzip
import io
import json
import zipfile

import zstandard

# What readers have stumbled over, in any format.
TOKENS = [
    *(b"", b"\0", b"\xff", b"\xfe\xff", b"\xed\xa0\x80", b"\x1b]52;c;eA==\x07", b"\r", b"\n", b'"', b"'", b"<", b"&"),
    *(b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"9" * 5000, b"99999999999999999999", b"2026-99-99", b"null"),
    *(b"true", b"../../outside/written", b"\\ud800", b"\\u0000", b"A" * 5000, b"[" * 3000, b"{" * 3000, b"{{"),
    *(b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xff" * 8),
]
XML = [
    *(f'encoding="{name}"'.encode() for name in ("UTF-99", "utf-7", "idna", "gbk", "utf-16")),
    *(f'r="{name}"'.encode() for name in ("XFD1048576", "A99999999999", "A-5", "%%", "Z" * 200 + "1")),
    *(b't="e"', b't="s"', b"<v>", b"</v>", b"<f></f>", b"<c/>", b"<row/>", b"</sheetData>", b'hidden="1"', b"&b;"),
    *(b'<!DOCTYPE a [<!ENTITY b "c">]>', b'table:number-rows-repeated="1048576"'),
    b'table:number-columns-repeated="16384"',
]
YAML = [
    *(b": &a [*a]", b"<<: *a", b"? [a]", b"!!int ''", b"!!timestamp x", b"!!bool x", b"!!float x", b"!!binary x"),
    *(b"!!python/object:os.system x", b"---", b"- ", b"\t", b": |", b"0x" + b"f" * 5000, b"1:59:59", b"!!set {a}"),
    *(b"\n- " + b"- " * 5000, b"\n? " + b"? " * 5000),
]
PICKLE = [b"cos\nsystem\n", b"\x93", b"R", b"b", b"o", b"(", b"t", b"2" * 50, b"r\xff\xff\xff\xff", b"\x8e", b"."]
OF_FORMAT = {
    "xml": XML,
    "yaml": YAML,
    "markdown": YAML,
    "json": [b",", b":", b"]", b"}", b"[[", b'{"a":', b'"\\', b"//"],
    "csv": [b",", b";", b"\t", b'""', b'"\n', b"=1+1", b"#N/A"],
    "pickle": PICKLE,
}
# Other names for a part of an archive.
NAMES = ["../../outside/written", "A" * 5000, "xl\\workbook.xml", ""]
DEEP = "[" * 2000 + "]" * 2000
# Values of every kind, in place of one of another kind.
VALUES = [
    *("null", "true", "-1", "0", "1", "1.5", "1e300", "1e999", "NaN", "99999999999999999999", "9" * 400, "9" * 5000),
    *('""', '"x"', '"\\u0000"', '"\\ud800"', f'"{"A" * 5000}"', '"../../outside/written"', '"2026-99-99"'),
    *("[]", "{}", "[null]", '["x"]', "[[]]", '{"x": 1}', '{"": null}', "[-1, 0]", "[1e308, 1e308]", DEEP, "2026-99-99"),
]
MARK = "\0value\0"


def mutated(random, content, other, kind):
    """Return a change of `content`, a file of a `kind`; `other` is another such file, to splice with."""
    packed = _PACKED.get(kind)
    if packed and random.random() < 0.8:
        with contextlib.suppress(Exception):  # it is no longer one
            return packed(random, content, other)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        content = _bytes(random, content, other, kind)
    return content


def _bytes(random, content, other, kind):
    at = random.randrange(len(content) + 1)
    end = min(len(content), at + random.choice((1, 1, 2, 4, 8, 40, 400)))
    how = random.randrange(6)
    if how == 0:
        return content[:at]
    if how == 1:
        return content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]
    if how == 2:
        cut = random.randrange(len(other) + 1)
        return content[:at] + other[cut:]
    if how == 3:
        return content[:at] + content[at:end] * random.choice((0, 2, 3, 100)) + content[end:]
    token = random.choice(OF_FORMAT.get(kind, []) * 2 + TOKENS)
    return content[:at] + token + content[at if how == 4 else end :]


def _zip(random, content, other):
    """Change one part of an archive, whose checksum is made right, or the way it is packed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
    with zipfile.ZipFile(io.BytesIO(other)) as archive:
        others = [archive.read(info) for info in archive.infolist()]
    name = random.choice([*parts])
    how = random.randrange(12)
    if how == 0:
        del parts[name]
    elif how == 1:
        parts[random.choice([*NAMES, name.upper(), name + "\0"])] = parts.pop(name)
    elif how == 2:
        parts[name] = random.choice(others)
    elif how == 3:
        kinds[name] = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    else:
        inner = "pickle" if name.endswith(".pkl") else "bytes" if name.endswith(".bin") else "xml"
        parts[name] = mutated(random, parts[name], random.choice(others), inner)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data, kinds.get(part, zipfile.ZIP_DEFLATED))
    return made.getvalue()


def _gzip(random, content, other):
    return gzip.compress(mutated(random, gzip.decompress(content), gzip.decompress(other), "csv"), 1)


def _zstd(random, content, other):
    plain, rest = (zstandard.ZstdDecompressor().decompressobj().decompress(each) for each in (content, other))
    return zstandard.ZstdCompressor().compress(mutated(random, plain, rest, "json"))


def _json(random, content, _other):
    """Put a value of another kind, leave one out, name one twice, or nest it."""
    tree = json.loads(content)
    places = [*_places(tree)]
    if not places:
        return random.choice(VALUES).encode()
    for _ in range(random.choice((1, 1, 1, 2))):
        holder, key = random.choice(places)
        how = random.randrange(8)
        value = random.choice(VALUES)
        with contextlib.suppress(KeyError, IndexError):
            if how == 0:
                del holder[key]
            elif how == 1:
                value = f"[{json.dumps(holder[key])}]"
            elif how == 2 and isinstance(holder, dict):
                holder[random.choice(["", "x", "\0", "A" * 5000, key + " ", "auto_map", "__metadata__"])] = holder[key]
            elif how == 3 and isinstance(holder, dict):
                value = f"{json.dumps(holder[key])}, {json.dumps(key)}: {value}"
            if how:
                holder[key] = MARK + value
    text = json.dumps(tree, ensure_ascii=random.random() < 0.5, indent=random.choice((None, 2)))
    mark = json.dumps(MARK)[1:-1]
    while (start := text.find(f'"{mark}')) >= 0:
        value, length = json.JSONDecoder().raw_decode(text, start)[0], json.JSONDecoder().raw_decode(text, start)[1]
        text = text[:start] + value.removeprefix(MARK) + text[length:]
    return text.encode("utf-8", "surrogatepass")


def _lines(random, content, other):
    lines = content.splitlines()
    at = random.randrange(len(lines))
    lines[at] = _json(random, lines[at], other)
    return b"\n".join(lines)


def _safetensors(random, content, other):
    """Change the header, and tell its length."""
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]
    how = _json if random.random() < 0.7 else lambda *given: mutated(*given, "bytes")
    header = how(random, header, other)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _markdown(random, content, other):
    front = _json(random, content.split(b"---")[1], other)
    return b"---\n" + front + b"\n---\n"


def _places(tree):
    """Yield each place of a tree that holds a value, as its holder and key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


_PACKED = {
    "zip": _zip,
    "gzip": _gzip,
    "zstd": _zstd,
    "json": _json,
    "yaml": _json,
    "lines": _lines,
    "safetensors": _safetensors,
    "markdown": _markdown,
}
