"""Checkpoints: tensors come out as they went in, and nothing that a pickle names is ever run."""

import os
import struct
import tracemalloc
import types
import zipfile
from collections import OrderedDict

import pytest

from ftbridge.core.errors import InputError
from ftbridge.weights.tensors.torch_file import Stub, TorchFile

from ...builders.torch_files import Call, Size, floats, from_type, parameter, save, save_pickled, tensor  # noqa: TID252


@pytest.fixture
def path(tmp_path):
    return tmp_path / "iter_1.pth"


def read(path, name="a", key="module"):
    """Return dtype, shape and bytes of a tensor."""
    checkpoint = TorchFile(path)
    found = checkpoint.tensor(checkpoint.content[key][name], name)
    return found.dtype, found.shape, b"".join(found.pieces())


def test_tensors_of_a_checkpoint_are_read_back(path):
    data = floats(*range(8))
    weights = OrderedDict(a=tensor(), b=tensor((2,), offset=6), c="no tensor")
    save(path, {"module": weights, "meta": {"cfg": "text", "epoch": 1}}, _0=data)
    assert read(path, "a") == ("F32", (2, 3), data[:24])
    assert read(path, "b") == ("F32", (2,), data[24:])
    assert TorchFile(path).content["meta"] == {"cfg": "text", "epoch": 1}
    with pytest.raises(InputError, match=r"`c` in .* is not a tensor"):
        read(path, "c")


@pytest.mark.parametrize(
    ("kind", "dtype", "item"), [("FloatStorage", "F32", 4), ("BFloat16Storage", "BF16", 2), ("LongStorage", "I64", 8)]
)
@pytest.mark.parametrize(("shape", "stride", "count"), [((), (), 1), ((0, 3), (3, 1), 0), ((1, 2), (9, 1), 2)])
def test_tensors_of_each_dtype_and_shape_are_read(path, kind, dtype, item, shape, stride, count):
    save(path, {"module": {"a": tensor(shape, stride, kind=kind)}}, _0=b"1" * 32)
    assert read(path) == (dtype, shape, b"1" * (count * item))


@pytest.mark.parametrize(
    "saved",
    [
        Call(parameter, tensor(), True, OrderedDict()),
        Call(from_type, tensor().call[0], dict, tensor().call[1], {"ds_id": 1}),
        tensor(Size((2, 3)), (3, 1)),
    ],
)
def test_parameters_and_tensors_with_attributes_are_tensors(path, saved):
    save(path, {"module": {"a": saved}}, _0=floats(*range(6)))
    assert read(path) == ("F32", (2, 3), floats(*range(6)))


@pytest.mark.parametrize("content", [[], "text", 1, None])
def test_checkpoint_that_is_no_dict_has_no_content(path, content):
    assert TorchFile(save(path, content)).content == {}


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (tensor(kind="ComplexFloatStorage"), "not a tensor of a kind"),
        (tensor((2, 3), (1, 2)), "is not stored in one piece"),
        (tensor((2, 3), (-3, 1)), "is not stored in one piece"),
        (tensor((2, 3), (0, 0)), "is not stored in one piece"),
        (tensor((-2, 3), (3, 1)), "it is said to have the shape"),
        (tensor((2, "x"), (3, 1)), "it is said to have the shape of no numbers"),
        (tensor((1 << 40, 1 << 40), (1, 1)), "it is said to have the shape"),
        (tensor((2,) * 65, (1,) * 65), "it is said to have the shape"),
        (tensor((2, 3), (1,)), "it is said to have the shape"),
        (tensor(stride="ab"), "it is said to have the shape"),
        (tensor(offset=-1), "it is said to have the shape"),
        (tensor(offset=1), "reaches beyond its bytes"),
        (tensor((1 << 40,)), "reaches beyond its bytes"),
        (tensor(key="9"), "no item named"),
        (tensor(key=("0",)), "no item named"),
    ],
)
def test_impossible_tensor_in_a_checkpoint_is_one_sentence(path, saved, message):
    save(path, {"module": {"a": saved}}, _0=floats(*range(6)))
    with pytest.raises(InputError, match=message) as error:
        read(path)
    assert len(str(error.value)) < 500


HOSTILE = [
    (os.system, "touch pwned"),
    (eval, "open('pwned', 'w')"),
    (exec, "open('pwned', 'w')"),
    (open, "pwned", "w"),
    (getattr, "os", "system"),
]


class Setting:
    """Sets its state by a call."""

    def __reduce__(self):
        return dict, (), Call(os.system, "touch pwned")


@pytest.mark.parametrize("call", HOSTILE)
def test_a_hostile_checkpoint_runs_nothing(tmp_path, path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    hostile = Call(*call)
    weights = {"a": hostile, "b": [Setting(), Call(parameter, hostile)]}
    save(path, {"module": weights, "optimizer": [hostile], "meta": hostile})
    with pytest.raises(InputError, match="not a tensor of a kind"):
        read(path)
    assert isinstance(TorchFile(path).content["meta"], Stub)
    save(path, {"module": Call(from_type, call[0], dict, call[1:], Setting())})
    assert isinstance(TorchFile(path).content["module"], Stub)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02(}",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"cos\nsystem\n",
        b"(S'touch pwned'\nios\nsystem\n",  # INST without an end
        b"\x80\x05\x8e" + b"\xff" * 7 + b"\x7f.",  # 2**62 bytes
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",  # as a bytearray
        b"\x80\x04\x95" + b"\xff" * 8 + b".",  # a frame of 2**64
        b"N" + b"\x85" * 100_000 + b"h\x00.",  # tuples in tuples, and a memo that is not there
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n}b(lR.",
        b"cbuiltins\neval\n\x8c\x011\x85\x81b\x82\x01.",  # an extension's code
    ],
)
def test_a_pickle_that_is_damaged_or_odd_is_one_sentence(tmp_path, path, monkeypatch, pickled):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"iter_1.pth` is damaged or no checkpoint") as error:
        TorchFile(save_pickled(path, pickled))
    assert len(str(error.value)) < 500
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "pickled",
    [
        b"}r\xff\xff\xff\xff.",  # a memo with room for 4 billion
        b")" + b"2\x86" * 60 + b"0}.",  # a tuple that holds 2**60 others
        b"}(" + b")" + b"2\x86" * 60 + b"Nu.",  # and as a key, which would be hashed for ever
        b"(" + b")" + b"2\x86" * 60 + b"Nd.",
        b"\x8f(" + b")" + b"2\x86" * 60 + b"\x900}.",
        b"(" + b")" + b"2\x86" * 60 + b"\x910}.",
    ],
)
def test_a_small_pickle_takes_neither_memory_nor_time(path, pickled):
    save_pickled(path, pickled)
    tracemalloc.start()
    assert TorchFile(path).content == {}
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_packed_file_is_refused_before_it_is_unpacked(path):
    save_pickled(path, b"}" + b"0}" * 1000 + b".", zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"data.pkl is packed, which torch never does"):
        TorchFile(path)


class Odd(list):
    """A class of somebody else: items, state and all."""

    def __init__(self, *items):
        super().__init__(items)
        self.note = "state"


def test_unknown_classes_become_stubs_that_take_anything(path):
    content = TorchFile(save(path, {"one": Odd(1, 2), "two": types.SimpleNamespace(a=1)})).content
    assert isinstance(content["one"], Stub)
    assert isinstance(content["two"], Stub)
    assert vars(content["one"]) == {}


def test_a_file_that_is_cut_anywhere_or_none_is_one_sentence(path):
    whole = save(path, {"module": {"a": tensor()}}, _0=floats(*range(6))).read_bytes()
    for content in [*(whole[:size] for size in range(0, len(whole), 7)), b"no checkpoint", b"\0" * 1000]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"`.*iter_1.pth` is damaged or no checkpoint: BadZipFile"):
            TorchFile(path)
    path.unlink()
    with pytest.raises(InputError, match="no checkpoint: FileNotFoundError"):
        TorchFile(path)


def test_a_byte_that_has_changed_anywhere_is_noticed_or_harmless(path):
    """The zip has a checksum for every entry; what is outside of them does not matter."""
    whole = save(path, {"module": {"a": tensor()}}, _0=floats(*range(6))).read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            assert read(path) == ("F32", (2, 3), floats(*range(6)))
        except InputError as error:
            assert "is damaged" in str(error)  # noqa: PT017 - both ends are right


def test_bytes_after_a_header_of_its_own_length_are_found(path):
    """torch fills the header up, so that the bytes begin at a multiple of 64."""
    save(path, {"module": {"a": tensor()}}, _x=b"")
    with zipfile.ZipFile(path, "a") as file:
        info = zipfile.ZipInfo("archive/data/0")
        info.extra = struct.pack("<HH", 0x4246, 40) + b"Z" * 40
        file.writestr(info, floats(*range(6)))
    assert read(path) == ("F32", (2, 3), floats(*range(6)))
