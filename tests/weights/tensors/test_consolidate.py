"""Gathering: every checkpoint's tensors, whole, whatever files they are shared out over."""

import json
import shutil
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.core.errors import InputError
from ftbridge.weights.tensors.consolidate import read_weights
from ftbridge.weights.tensors.safetensors import write

from ...builders.torch_files import Size, floats, save, tensor, zero3  # noqa: TID252

SHAPES = {"llm.a.weight": (3, 5), "llm.b.bias": (7,), "llm.c.weight": (2, 2, 4)}
ZERO3 = "zero_pp_rank_{}_mp_rank_00_model_states.pt"


def content(found):
    return {name: (each.dtype, each.shape, b"".join(each.pieces())) for name, each in found.tensors.items()}


def counted(shapes, start=0):
    """Return what `zero3` has written: each tensor counts on."""
    result = {}
    for name, shape in shapes.items():
        result[name] = ("F32", shape, floats(*range(start, start + prod(shape))))
        start += prod(shape)
    return result


@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 7, 16, 40])
def test_shares_of_any_number_of_processes_are_put_together(tmp_path, world, groups):
    """40 processes are more than some tensors have items; rank 10 comes after rank 9."""
    assert content(read_weights(zero3(tmp_path, SHAPES, world, groups))) == counted(SHAPES)


@settings(max_examples=30)
@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), min_size=1, max_size=6),
    world=st.integers(1, 6),
    groups=st.integers(1, 4),
)
def test_zero3_shares_of_any_shapes_are_put_together(tmp_path_factory, shapes, world, groups):
    folder = tmp_path_factory.mktemp("zero3")
    named = {str(number): shape for number, shape in enumerate(shapes) if prod(shape)}
    assert content(read_weights(zero3(folder, named, world, groups))) == counted(named)


def test_a_full_training_keeps_its_buffers_and_what_was_frozen(tmp_path):
    shapes = {"frozen_param_shapes": {"llm.wte": Size((3, 1))}}
    for rank in range(2):  # each with its own share
        held = {"frozen_param_fragments": {"llm.wte": tensor((2,), key="f")}}
        folder = tmp_path / str(rank)
        extra = {"_b": floats(7, 8), "_f": floats(*([1, 2] if rank == 0 else [3, -1]))}
        zero3(folder, SHAPES, 2, module={"llm.rope": tensor((2,), key="b")}, extra=extra, **shapes, **held)
    shutil.copy(tmp_path / "1" / ZERO3.format(1), tmp_path / "0")
    found = content(read_weights(tmp_path / "0"))
    assert found.pop("llm.rope") == ("F32", (2,), floats(7, 8))
    assert found.pop("llm.wte") == ("F32", (3, 1), floats(1, 2, 3))
    assert found == counted(SHAPES)


def test_an_adapter_comes_without_its_frozen_base(tmp_path):
    shapes = {"m.q.lora_A.default.weight": (2, 3), "m.head.modules_to_save.default.weight": (2,), "m.q.weight": (2,)}
    found = content(read_weights(zero3(tmp_path / "three", shapes, 2, frozen_param_shapes={"m.base": Size((9,))})))
    assert list(found) == list(shapes)[:2]
    weights = {name: tensor((1,), offset=number) for number, name in enumerate(shapes)}
    save(tmp_path / "two" / "mp_rank_00_model_states.pt", {"module": weights}, _0=floats(1, 2, 3))
    assert list(read_weights(tmp_path / "two").tensors) == list(shapes)[:2]


@pytest.mark.parametrize(("key", "name"), [("state_dict", "iter_1.pth"), ("module", "mp_rank_00_model_states.pt")])
def test_a_whole_model_comes_with_tied_weights_once(tmp_path, key, name):
    weights = {"embed": tensor((2, 3)), "head": tensor((2, 3)), "norm": tensor((2,), offset=6)}
    path = save(tmp_path / "one" / name, {key: weights, "meta": {"cfg": "text"}}, _0=floats(*range(8)))
    found = read_weights(path if key == "state_dict" else path.parent)
    assert content(found) == counted({"embed": (2, 3), "norm": (2,)})
    assert found.content["meta"] == {"cfg": "text"}


@pytest.mark.parametrize(
    "weights",
    [
        {"a": tensor((2, 3)), "b": tensor((2,), offset=5)},
        {"a": tensor((2, 3)), "b": tensor((3, 2))},
        {"a.lora_A.default.weight": tensor(), "b.lora_A.default.weight": tensor()},
    ],
)
def test_tensors_that_overlap_are_refused(tmp_path, weights):
    path = save(tmp_path / "iter_1.pth", {"state_dict": weights}, _0=floats(*range(8)))
    with pytest.raises(InputError, match="is damaged: tensors overlap at byte"):
        read_weights(path)


def optim(folder, rank):
    return folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


def other(folder, **options):
    """Write another checkpoint beside `folder`."""
    return zero3(folder.with_name("other"), **{"shapes": SHAPES, "world": 2} | options)


def lose(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: lose(folder / ZERO3.format(0)), r"has no files `zero_pp_rank_0_mp.*there must be one"),
        (lambda folder: lose(folder / ZERO3.format(1)), r"has no files `zero_pp_rank_1_mp.*there must be one"),
        (lambda folder: lose(optim(folder, 1)), r"has no files `\*zero_pp_rank_1_.*optim_states.pt`"),
        (
            lambda folder: shutil.copy(optim(folder, 1), folder / optim(folder, 1).name.removeprefix("bf16_")),
            "has 2 files",
        ),
        (
            lambda folder: shutil.copy(other(folder, global_steps=6) / ZERO3.format(1), folder),
            "mixes shards of several checkpoints: their steps are 3, 6",
        ),
        (
            lambda folder: shutil.copy(other(folder, world=3) / ZERO3.format(1), folder),
            "mixes shards of several checkpoints: their numbers of processes are 2, 3",
        ),
        (
            lambda folder: shutil.copy(optim(other(folder, world=3), 1), folder),
            "mixes shards of several checkpoints: they hold 80, 56 bytes, and 80 each are named",
        ),
        (
            lambda folder: shutil.copy(optim(other(folder, step=6), 1), folder),
            "mixes shards of several checkpoints: their optimizer's steps are 9, 6",
        ),
        (lambda folder: zero3(folder, SHAPES, 2, mp_world_size=2), "was trained with tensor parallelism"),
        (lambda folder: zero3(folder, SHAPES, 2, dp_world_size=10**9), "lacks shards: its first one is of 1000000000"),
        (lambda folder: zero3(folder, SHAPES, 2, dp_world_size="two"), "lacks shards: its first one is of unknown"),
        (lambda folder: zero3(folder, SHAPES, 2, param_shapes=[{"a": Size((-3,))}]), "`a` in .* has no shape"),
        (lambda folder: zero3(folder, SHAPES, 2, param_shapes=[{"a": "text"}]), "`a` in .* has no shape"),
        (lambda folder: zero3(folder, SHAPES, 2, param_shapes=None), "hold 80, 80 bytes, and 0 each are named"),
        (lambda folder: [save(optim(folder, rank), {}) for rank in (0, 1)], "does not hold the weights in float32"),
        (lambda folder: optim(folder, 0).write_bytes(optim(folder, 0).read_bytes()[:-30]), "is damaged"),
        (
            lambda folder: zero3(folder, SHAPES, 2, frozen_param_shapes={"a": Size((3,))}),
            "`a` in .* is not a tensor",
        ),
        (
            lambda folder: zero3(
                folder,
                SHAPES,
                2,
                extra={"_f": floats(1)},
                frozen_param_shapes={"a": Size((3,))},
                frozen_param_fragments={"a": tensor((1,), key="f")},
            ),
            "its shards do not hold the whole of `a`",
        ),
    ],
)
def test_shards_that_do_not_fit_are_one_sentence(tmp_path, damage, message):
    damage(folder := zero3(tmp_path / "iter_3.pth", SHAPES, 2))
    with pytest.raises(InputError, match=message):
        read_weights(folder)


@pytest.mark.parametrize("step", [None, 3, tensor((), key="s")])
def test_an_optimiser_counts_its_steps_in_its_own_way_or_not(tmp_path, step):
    assert content(read_weights(zero3(tmp_path, SHAPES, 2, step=step))) == counted(SHAPES)


def test_a_share_alone_is_refused(tmp_path):
    folder = zero3(tmp_path, SHAPES, 2)
    with pytest.raises(InputError, match=r"holds no more than a share of `llm.a.weight`; name its folder"):
        read_weights(folder / ZERO3.format(0))


def adapter(folder, tensors):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    write(folder / "adapter_model.safetensors", [(name, "F32", (len(data) // 4,), [data]) for name, data in tensors])
    return folder


@pytest.mark.parametrize("left", [[], [("m.q.lora_A.weight", b"")]])
def test_weights_that_trainer_did_not_gather_come_from_the_newest_shards(tmp_path, left):
    shapes = {"m.q.lora_A.default.weight": (2, 3)}
    zero3(tmp_path / "global_step9", {"m.q.lora_A.default.weight": (9,)}, 2)
    zero3(tmp_path / "global_step10", shapes, 2)
    assert content(read_weights(adapter(tmp_path, left))) == counted(shapes)
    assert list(read_weights(adapter(tmp_path, [("own", floats(1))])).tensors) == ["own"]


def test_a_folder_of_safetensors_needs_all_that_its_index_names(tmp_path):
    write(tmp_path / "model-00001-of-00002.safetensors", [("a", "F32", (1,), [floats(1)])])
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(InputError, match="lacks 1 tensor that its index names, such as `b`"):
        read_weights(tmp_path)
    write(tmp_path / "model-00002-of-00002.safetensors", [("b", "F32", (1,), [floats(2)])])
    assert content(read_weights(tmp_path)) == {"a": ("F32", (1,), floats(1)), "b": ("F32", (1,), floats(2))}


def test_a_safetensors_file_whose_tensors_overlap_is_refused(tmp_path):
    write(tmp_path / "model.safetensors", [("a", "F32", (1,), [floats(1)]), ("b", "F32", (1,), [floats(2)])])
    file = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(
        file.replace(b"[4,8]", b"[0,8]").replace(b'"b":{"dtype":"F32","shape":[1]', b'"b":{"dtype":"F32","shape":[2]')
    )
    with pytest.raises(InputError, match="tensors overlap at byte"):
        read_weights(tmp_path)


def test_a_folder_with_nothing_in_it_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="holds neither a checkpoint nor an adapter"):
        read_weights(tmp_path)
