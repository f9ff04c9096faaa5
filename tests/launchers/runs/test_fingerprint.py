"""The fingerprint of a base: other weights of the same shape are seen, and what does not matter is not."""

import json
import os
import pickle
import shutil
import struct
from math import prod

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.launchers.runs.fingerprint import base_changes, fingerprint

SHAPES = {"model.embed_tokens.weight": (64, 32), "model.layers.0.q.weight": (32, 32), "model.norm.weight": (32,)}


def number(name):
    return sum(name.encode()) % 200 + 1


def write_weights(file, tensors):
    """Write a safetensors file of tensors by name: (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (len(data), len(data) + len(content))}
        data += content
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tensors(**others):
    """Return the model's tensors, some of them with `others`' bytes."""
    found = {}
    for name, shape in SHAPES.items():
        value = others.get(name.split(".")[-2], number(name))
        found[name] = ("BF16", shape, bytes([value]) * (2 * prod(shape)))
    return found


@pytest.fixture
def model(tmp_path):
    """Return the folder of a made model."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_weights(folder / "model.safetensors", tensors())
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "modeling_own.py", "README.md"):
        (folder / name).write_text(f'{{"{name}": 1}}')
    (folder / "generation_config.json").write_text("{}")
    return folder


def test_a_base_that_was_only_moved_is_the_same(model, tmp_path):
    before = fingerprint(model)
    shutil.copytree(model, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere") == before
    assert base_changes(tmp_path / "elsewhere", before) == ("", [])
    (tmp_path / "linked").mkdir()
    for file in model.iterdir():  # as a hub's cache has them
        (tmp_path / "linked" / file.name).symlink_to(file)
    assert fingerprint(tmp_path / "linked") == before
    assert msgspec.json.decode(msgspec.json.encode(before), type=type(before)) == before


def test_change_of_files_that_do_not_shape_the_model_is_no_change(model):
    before = fingerprint(model)
    (model / "README.md").write_text("more")
    (model / "generation_config.json").write_text('{"temperature": 0.1}')
    (model / "LICENSE").write_text("yours")
    (model / "tokenizer.json").touch()
    assert base_changes(model, before) == ("", [])


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "modeling_own.py"])
def test_changed_config_tokenizer_or_code_is_named(model, name):
    before = fingerprint(model)
    (model / name).write_text("{}")
    assert base_changes(model, before) == ("", [name])
    (model / name).unlink()
    assert base_changes(model, before) == ("", [name])
    (model / "chat_template.jinja").write_text("new")
    assert base_changes(model, before) == ("", [name, "chat_template.jinja"])


@pytest.mark.parametrize("name", SHAPES)
def test_changed_weights_of_the_same_shape_are_named(model, name):
    before = fingerprint(model)
    write_weights(model / "model.safetensors", tensors(**{name.split(".")[-2]: 255}))
    assert base_changes(model, before) == (f"1 of its 3 tensors differ, such as `{name}`", [])


@pytest.mark.parametrize("where", [0, 0.3334, 0.6667, 1])
def test_a_change_at_a_place_that_is_looked_at_is_seen(model, where):
    before = fingerprint(model)
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    begin = len(content) - sum(len(data) for _, _, data in tensors().values())
    content[begin + int(where * (64 * 32 * 2 - 1))] ^= 1  # of the embedding, which is first
    file.write_bytes(content)
    assert base_changes(model, before).weights == "1 of its 3 tensors differ, such as `model.embed_tokens.weight`"


def test_changed_shapes_dtypes_or_names_are_a_change(model):
    before, known = fingerprint(model), tensors()
    whole = known["model.norm.weight"]
    for other in (
        known | {"model.norm.weight": ("F16", *whole[1:])},
        known | {"model.norm.weight": (whole[0], (2, 16), whole[2])},
        {name.replace("norm", "ln"): value for name, value in known.items()},
        known | {"lm_head.weight": whole},
    ):
        write_weights(model / "model.safetensors", other)
        assert base_changes(model, before).weights.startswith("its tensors differ in names, dtypes or shapes")


def test_how_the_weights_are_cut_into_files_does_not_matter(model):
    before, known = fingerprint(model), tensors()
    (model / "model.safetensors").unlink()
    places = {}
    for at, (name, tensor) in enumerate(known.items(), 1):
        write_weights(model / f"model-{at}.safetensors", {name: tensor})
        places[name] = f"model-{at}.safetensors"
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert base_changes(model, before) == ("", [])
    cut = fingerprint(model)
    assert (len(cut.weights), len(cut.files[index.name])) == (3, 64)
    assert (cut.tensors, cut.samples, cut.short) == (before.tensors, before.samples, before.short)
    write_weights(model / "model-2.safetensors", {"model.layers.0.q.weight": tensors(q=9)["model.layers.0.q.weight"]})
    assert base_changes(model, before).weights == "1 of its 3 tensors differ, such as `model.layers.0.q.weight`"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_pickled_weights_are_sampled_and_never_loaded(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (model / "model.safetensors").unlink()
    file = model / "pytorch_model.bin"
    file.write_bytes(pickle.dumps(Bomb()) + bytes(300_000))
    before = fingerprint(model)
    assert not (tmp_path / "exploded").exists()
    assert before.weights == {"pytorch_model.bin": file.stat().st_size}
    assert base_changes(model, before) == ("", [])
    content = file.read_bytes()
    file.write_bytes(content[:-5] + b"1" + content[-4:])  # where a zip lists the checksums of its tensors
    assert base_changes(model, before).weights == "1 of its 1 tensor differs, such as `pytorch_model.bin`"
    file.write_bytes(content + b"1")
    assert "(`pytorch_model.bin`)" in base_changes(model, before).weights


def header(text):
    return struct.pack("<Q", len(text)) + text + bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"123",
        header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-9,4]}}'),
        header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[99999999999999999999999,4]}}'),
        header(b'{"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}'),
    ],
)
def test_damaged_weights_are_no_fault_of_the_fingerprint(model, content):
    (model / "model.safetensors").write_bytes(content)
    before = fingerprint(model)
    assert base_changes(model, before) == ("", [])
    (model / "model.safetensors").write_bytes(content + b"more")
    assert base_changes(model, before).weights


@pytest.mark.parametrize(
    "index",
    [b"{", b"[]", b'{"weight_map": []}', b'{"weight_map": {"a": "absent.safetensors"}}', b"[" * 5000, b'{"\xa3"'],
)
def test_a_damaged_index_is_no_fault_of_the_fingerprint(model, index):
    (model / "model.safetensors.index.json").write_bytes(index)
    assert base_changes(model, fingerprint(model)) == ("", [])


def test_fingerprint_of_a_folder_without_a_model_is_empty(tmp_path):
    assert fingerprint(tmp_path).weights == {}


def test_a_file_that_cannot_be_read_is_a_sentence(model):
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.json").symlink_to("/proc/self/mem")  # which has nothing at its begin, not even for root
    with pytest.raises(InputError, match="cannot read the model in"):
        fingerprint(model)


@pytest.mark.parametrize(("count", "places"), [(300, 4), (5000, 1)])
def test_little_is_read_however_large_the_model_is(tmp_path, monkeypatch, count, places):
    reads = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: reads.append(args[1]) or real(*args))
    size = 1 << 22
    known = {
        f"t{at}": {"dtype": "F32", "shape": [size // 4], "data_offsets": [at * size, (at + 1) * size]}
        for at in range(count)
    }
    text = json.dumps(known).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + count * size)  # up to 20 GB, of holes
    assert len(fingerprint(tmp_path).samples) == 8 * count
    assert reads == [128] * (count * places)
