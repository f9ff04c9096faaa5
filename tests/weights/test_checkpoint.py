"""Checkpoints: tensors come out as they went in, and nothing that a pickle names is ever run."""

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import pytest

from ftbridge.core.errors import InputError
from ftbridge.weights.checkpoint import Checkpoint, Stub, Tensor


class Storage:
    """Stands for torch's storages: `kind` is their class, `key` their record in the zip."""

    def __init__(self, kind, key="0"):
        self.kind, self.key = kind, key


class Saved:
    """Stands for torch's tensors, and pickles as they do."""

    def __init__(self, storage, shape, stride, offset=0, rebuild=None):
        self.arguments = (storage, offset, shape, stride, False, OrderedDict())
        self.rebuild = rebuild

    def __reduce__(self):
        return self.rebuild, self.arguments


class Hostile:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        return ("storage", thing.kind, thing.key, "cpu", 0) if isinstance(thing, Storage) else None


@pytest.fixture
def torch(monkeypatch):
    """Put in a `torch` with the names that a checkpoint mentions, so that pickle can write them."""
    fake, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "BFloat16Storage", "LongStorage", "ComplexFloatStorage"):
        setattr(fake, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType(compile("0", "torch", "eval"), {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    fake._utils = utils
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return fake


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an object and its records as torch.save does; it returns the path."""

    def save(content, path="iter_1.pth", **records):
        pickled = io.BytesIO()
        Pickler(pickled, protocol=2).dump(content)
        with zipfile.ZipFile(tmp_path / path, "w") as file:
            file.writestr("iter_1/data.pkl", pickled.getvalue())
            for key, data in records.items():
                file.writestr(f"iter_1/data/{key.strip('_')}", data)
        return tmp_path / path

    return save


def tensor(torch, shape=(2, 3), stride=(3, 1), offset=0, kind="FloatStorage", key="0"):
    return Saved(Storage(getattr(torch, kind), key), shape, stride, offset, torch._utils._rebuild_tensor_v2)


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize("key", ["state_dict", "module"])
def test_tensors_come_out_as_they_went_in(torch, write, key):
    data = floats(*range(8))
    weights = OrderedDict(a=tensor(torch), b=tensor(torch, (2,), (1,), 6), c="no tensor")
    checkpoint = Checkpoint(write({key: weights, "meta": {"cfg": "text", "epoch": 1}}, _0=data))
    found = checkpoint.tensors()
    assert found == {"a": Tensor("F32", (2, 3), "0", 0, 4), "b": Tensor("F32", (2,), "0", 6, 4)}
    assert checkpoint.read(found["a"]) == data[:24]
    assert checkpoint.read(found["b"]) == data[24:]
    assert checkpoint.content["meta"] == {"cfg": "text", "epoch": 1}


@pytest.mark.parametrize(
    ("kind", "dtype", "item"), [("FloatStorage", "F32", 4), ("BFloat16Storage", "BF16", 2), ("LongStorage", "I64", 8)]
)
@pytest.mark.parametrize(("shape", "stride", "count"), [((), (), 1), ((0, 3), (3, 1), 0), ((1, 2), (9, 1), 2)])
def test_dtypes_and_shapes(torch, write, kind, dtype, item, shape, stride, count):
    checkpoint = Checkpoint(write({"module": {"a": tensor(torch, shape, stride, kind=kind)}}, _0=b"1" * 32))
    found = checkpoint.tensors()["a"]
    assert (found.dtype, found.shape, found.size) == (dtype, shape, count * item)
    assert checkpoint.read(found) == b"1" * (count * item)


def test_a_parameter_is_its_tensor(torch, write):
    parameter = Hostile(torch._utils._rebuild_parameter, tensor(torch), True, OrderedDict())
    assert list(Checkpoint(write({"state_dict": {"a": parameter}})).tensors()) == ["a"]


@pytest.mark.parametrize("content", [[], "text", {}, {"state_dict": None}, {"state_dict": {"a": 1}}])
def test_a_checkpoint_without_tensors_has_none(write, content):
    assert Checkpoint(write(content)).tensors() == {}


def test_a_dtype_that_nothing_reads_is_left_out(torch, write):
    odd = tensor(torch, kind="ComplexFloatStorage")
    assert Checkpoint(write({"module": {"a": odd, "b": tensor(torch)}})).tensors().keys() == {"b"}


def test_a_tensor_that_is_not_in_one_piece_is_refused(torch, write):
    with pytest.raises(InputError, match="does not lie in one piece"):
        Checkpoint(write({"module": {"a": tensor(torch, (2, 3), (1, 2))}}))


@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch pwned"),
        (eval, "open('pwned', 'w')"),
        (exec, "open('pwned', 'w')"),
        (open, "pwned", "w"),
        (getattr, "os", "system"),
    ],
)
def test_a_hostile_checkpoint_runs_nothing(write, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    path = write({"state_dict": {"a": Hostile(*call)}, "optimizer": [Hostile(*call)], "meta": Hostile(*call)})
    checkpoint = Checkpoint(path)
    assert isinstance(checkpoint.content["meta"], Stub)
    assert checkpoint.tensors() == {}
    assert list(tmp_path.iterdir()) == [path]


class Odd(list):
    """A class of somebody else: items, state and all."""

    def __init__(self, *items):
        super().__init__(items)
        self.note = "state"


def test_unknown_classes_become_stubs_that_take_anything(write):
    content = Checkpoint(write({"one": Odd(1, 2), "two": types.SimpleNamespace(a=1)})).content
    assert isinstance(content["one"], Stub)
    assert isinstance(content["two"], Stub)
    assert vars(content["one"]) == {}


def test_a_file_that_is_cut_or_none_is_one_sentence(write, tmp_path):
    whole = write({"a": 1}).read_bytes()
    for content in (whole[:-30], whole[:20], b"", b"no checkpoint"):
        (tmp_path / "cut.pth").write_bytes(content)
        with pytest.raises(InputError, match=r"`.*cut.pth` is damaged or no checkpoint: BadZipFile"):
            Checkpoint(tmp_path / "cut.pth")
    with pytest.raises(InputError, match="no checkpoint: FileNotFoundError"):
        Checkpoint(tmp_path / "absent.pth")


@pytest.mark.parametrize("pickled", [b"", b"\x80\x02", b"\x80\x02(}", b"\x80\x02X\xff\xff\xff\x7fa.", b"cos\nsystem\n"])
def test_a_pickle_that_is_damaged_is_one_sentence(tmp_path, pickled):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as file:
        file.writestr("a/data.pkl", pickled)
    with pytest.raises(InputError, match=r"a.pth` is damaged or no checkpoint"):
        Checkpoint(tmp_path / "a.pth")


def test_bytes_that_are_damaged_are_one_sentence(torch, write):
    data = floats(*range(6))
    path = write({"module": {"a": tensor(torch)}}, _0=data)
    path.write_bytes(path.read_bytes().replace(data, data[::-1]))
    checkpoint = Checkpoint(path)
    with pytest.raises(InputError, match=r"iter_1.pth` is damaged: Bad CRC-32"):
        checkpoint.read(checkpoint.tensors()["a"])


@pytest.mark.parametrize(
    ("offset", "key", "message"),
    [(1, "0", "reaches beyond `0`"), (-1, "0", "reaches beyond `0`"), (0, "9", "no item named")],
)
def test_a_tensor_beyond_its_bytes_is_one_sentence(torch, write, offset, key, message):
    checkpoint = Checkpoint(write({"module": {"a": tensor(torch, offset=offset, key=key)}}, _0=floats(*range(6))))
    with pytest.raises(InputError, match=f"is damaged: .*{message}"):
        checkpoint.read(checkpoint.tensors()["a"])
