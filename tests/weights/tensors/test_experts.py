"""Experts: one by one in the files, together in memory."""

from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.weights.tensors.experts import adapter_shares, split_experts
from ftbridge.weights.tensors.tensor import FileRange, Tensor

MODULE = "model.layers.1.mlp.experts"
COUNT, INNER, OUTER = 3, 2, 5


def place(*shape, offset=0):
    size = 4
    for length in shape:
        size *= length
    return Tensor("F32", shape, (FileRange(Path("file"), offset, size),))


@pytest.fixture(params=[("mlp", "gate_proj", "up_proj", "down_proj"), ("block_sparse_moe", "w1", "w3", "w2")])
def files(request):
    """Return a base's tensors, and what gate, up and down are called in them."""
    part, *leaves = request.param
    shapes = ((INNER, OUTER), (INNER, OUTER), (OUTER, INNER))
    named = {
        f"model.layers.1.{part}.experts.{number}.{leaf}.weight": place(*shape)
        for number in range(COUNT)
        for leaf, shape in zip(leaves, shapes, strict=True)
    }
    return named, [f"model.layers.1.{part}.experts.{{}}.{leaf}.weight" for leaf in leaves]


def test_an_adapter_of_all_experts_is_shared_out(files):
    named, (gate, up, down) = files
    found = adapter_shares(MODULE, place(COUNT * 4, OUTER), place(2 * INNER, 4 * COUNT, offset=100), named, {4})
    assert [(share.name, share.number) for share in found] == [
        (name.format(number), number) for number in range(COUNT) for name in (gate, up)
    ]
    assert {(share.parameter, share.rank, share.count) for share in found} == {("gate_up_proj", 4, COUNT)}
    second = found[3]  # up of expert 1: the second four rows of A, the second half of B's rows
    assert (second.a.place.start, second.a.shape) == (4 * OUTER * 4, (4, OUTER))
    assert (second.b.place.start, second.b.shape) == (100 + INNER * 4 * COUNT * 4, (INNER, 4 * COUNT))
    found = adapter_shares(MODULE, place(COUNT * 2, INNER), place(OUTER, 2 * COUNT), named, {2})
    assert [(share.name, share.parameter) for share in found] == [
        (down.format(number), "down_proj") for number in range(COUNT)
    ]


@pytest.mark.parametrize(
    ("a", "b"),
    [((4, OUTER), (2 * INNER, 4)), ((COUNT, OUTER + 1), (2 * INNER, COUNT)), ((COUNT,), (COUNT,))],
)
def test_expert_adapter_of_another_shape_is_not_shared_out(files, a, b):
    assert adapter_shares(MODULE, place(*a), place(*b), files[0], {1, 2, 4}) == []
    # Of another rank, and of files in which one is left out.
    assert adapter_shares(MODULE, place(COUNT * 4, OUTER), place(2 * INNER, 4 * COUNT), files[0], {2}) == []
    gap = {name: held for name, held in files[0].items() if ".experts.1." not in name}
    assert adapter_shares(MODULE, place(4, OUTER), place(2 * INNER, 4), gap, {4}) == []
    assert (
        adapter_shares("model.layers.0.mlp.experts", place(COUNT, OUTER), place(2 * INNER, COUNT), files[0], {1}) == []
    )


def numbers(shape):
    """Return a tensor whose bytes lie in two parts."""
    return Tensor("F32", shape, (FileRange(Path("x"), 0, 44), FileRange(Path("y"), 8, place(*shape).size - 44)))


def test_a_tensor_of_all_experts_is_split_where_the_files_have_them_one_by_one(files):
    named, (gate, up, down) = files
    found = split_experts(f"{MODULE}.gate_up_proj", numbers((COUNT, 2 * INNER, OUTER)), named)
    assert list(found) == [name.format(number) for number in range(COUNT) for name in (gate, up)]
    assert found[up.format(0)].parts == (FileRange(Path("x"), 40, 4), FileRange(Path("y"), 8, 36))
    assert {tensor.shape for tensor in found.values()} == {(INNER, OUTER)}
    found = split_experts(f"{MODULE}.down_proj", numbers((COUNT, OUTER, INNER)), named)
    assert {tensor.shape for tensor in found.values()} == {(OUTER, INNER)}
    assert list(found) == [down.format(number) for number in range(COUNT)]


def test_tensor_stored_whole_in_the_files_stays_whole_and_a_misfit_is_refused(files):
    whole = numbers((COUNT, 2 * INNER, OUTER))
    assert split_experts("model.layers.0.mlp.experts.gate_up_proj", whole, files[0]) == {
        "model.layers.0.mlp.experts.gate_up_proj": whole
    }
    assert split_experts("model.norm.weight", whole, files[0]) == {"model.norm.weight": whole}
    with pytest.raises(InputError, match="does not hold the 3 experts of the base"):
        split_experts(f"{MODULE}.gate_up_proj", numbers((COUNT, INNER, OUTER)), files[0])
