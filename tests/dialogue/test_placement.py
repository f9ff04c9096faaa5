"""Which GPUs a model gets, what it computes with there, and what is told of one that is too big."""

import json

import pytest

from ftbridge.core.errors import InputError
from ftbridge.dialogue.placement import Loading, Placement, free_memory, place
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.weights.tensors import safetensors

SMALL, NEW, OLD = 11, 8.0, 7.5  # MiB that the model below has no room in, and compute capabilities
WIDTHS = {"model.layers.0.mlp.weight": 4096, "model.embed_tokens.weight": 1024}


def gpu(uuid, free=None, capability=NEW):
    return Gpu("a card", None, capability, "570.86.15", free, uuid)


def write_model(folder, config, kind="BF16", rows=1024):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    entries = [
        (name, kind, (rows, width), [bytes(rows * width * safetensors.SIZES[kind])]) for name, width in WIDTHS.items()
    ]
    safetensors.write(folder / "model.safetensors", entries)
    return folder


@pytest.fixture
def model(tmp_path):
    """Return the folder of a model with 10 MiB of weights in bfloat16."""
    return write_model(tmp_path / "model", {"torch_dtype": "bfloat16"})


@pytest.mark.parametrize(
    ("cards", "shown"),
    [
        ([], ""),
        ([gpu("a", SMALL), gpu("b", 100), gpu("c", 50)], "b"),
        ([gpu("a", SMALL - 1), gpu("b", SMALL)], "ba"),
        ([gpu("a"), gpu("b", 100)], "b"),
        ([gpu("a"), gpu("b", SMALL)], "ba"),
        ([gpu("a"), gpu("b")], "ab"),
        ([gpu("MIG-a"), gpu("MIG-b")], ["MIG-a"]),
        ([gpu("MIG-a"), gpu("b", SMALL), gpu("c", SMALL)], "bc"),
    ],
)
def test_a_model_gets_the_freest_card_alone_where_it_fits(model, cards, shown):
    assert [each.uuid for each in place(cards, model, None, Loading()).gpus] == list(shown)


@pytest.mark.parametrize(
    ("loading", "adapter", "config", "mebibytes"),
    [
        (Loading(), 0, {}, 10),
        (Loading(dtype="float32"), 0, {}, 20),
        (Loading(bits=8), 0, {}, 4 + 2),
        (Loading(bits=4), 0, {}, 4 * 0.52 + 2),
        (Loading(), 3, {}, 13),
        (Loading(bits=4), 0, {"quantization_config": {"quant_method": "gptq"}}, 10),
        (Loading(dtype="float32"), 0, {"quantization_config": {"quant_method": "gptq"}}, 10),
    ],
)
def test_weights_are_counted_as_they_are_loaded(tmp_path, loading, adapter, config, mebibytes):
    model = write_model(tmp_path / "model", config)
    if adapter:
        (tmp_path / "adapter_model.safetensors").write_bytes(bytes(adapter * 2**20))
    found = place([], model, tmp_path if adapter else None, loading)
    assert found.size == pytest.approx(mebibytes * 2**20, abs=1)


def test_expert_weights_are_counted_as_not_quantised(tmp_path):
    size = 1024 * 1024 * 2
    (tmp_path / "config.json").write_text("{}")
    entries = [("model.layers.0.mlp.experts.0.up_proj.weight", "BF16", (1024, 1024), [bytes(size)])]
    safetensors.write(tmp_path / "model.safetensors", entries)
    assert place([], tmp_path, None, Loading(bits=4)).size == size


def test_weights_without_headers_are_counted_by_their_files(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(1600))
    (tmp_path / "training_args.bin").write_bytes(bytes(1600))
    assert place([], tmp_path, None, Loading()).size == 1600
    assert place([], tmp_path, None, Loading(bits=4)).size == 400


@pytest.mark.parametrize(
    ("stored", "asked", "capabilities", "dtype", "compute"),
    [
        ("bfloat16", "auto", [NEW], "bfloat16", "bfloat16"),
        ("bfloat16", "auto", [OLD], "float16", "float16"),
        ("bfloat16", "auto", [None], "float16", "float16"),
        ("bfloat16", "auto", [NEW, OLD], "float16", "float16"),
        ("bfloat16", "bfloat16", [OLD], "bfloat16", "bfloat16"),
        ("bfloat16", "float32", [OLD], "float32", "float32"),
        ("float32", "auto", [OLD], "float32", "float16"),
        ("float16", "auto", [NEW], "float16", "bfloat16"),
        ("bfloat16", "auto", [], "bfloat16", "float32"),
        ("bfloat16", "bfloat16", [], "bfloat16", "bfloat16"),
    ],
)
@pytest.mark.parametrize("key", ["dtype", "torch_dtype", None])
def test_dtype_of_a_loaded_model_is_one_that_the_cards_have(tmp_path, key, stored, asked, capabilities, dtype, compute):
    kind = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[stored]
    model = write_model(tmp_path / "model", {key: stored} if key else {}, kind, rows=1)
    cards = [gpu(str(number), 0, each) for number, each in enumerate(capabilities)]
    found = place(cards, model, None, Loading(dtype=asked))
    assert (found.dtype, found.compute_dtype) == (dtype, compute)


def test_a_model_that_does_not_say_what_it_holds_is_loaded_as_transformers_sees_fit(tmp_path):
    assert place([gpu("a", 1, OLD)], tmp_path, None, Loading()).dtype == "auto"


def test_a_model_too_big_for_all_cards_is_told_before_it_is_loaded(model):
    def note(*free, **loading):
        return place([gpu(str(number), each) for number, each in enumerate(free)], model, None, Loading(**loading)).note

    assert note(6, 5).endswith("free on the 2 GPUs: what does not fit there goes into main memory, and answers come "
                               "slowly; `--bits 4` helps")  # fmt: skip
    assert "takes about 12.0 MiB, and 11.0 MiB are free on the GPU: what" in note(SMALL)
    assert note(6, 6) == note(100) == note(None, 5) == note(1, bits=4) == note() == ""


def test_loaded_model_lowers_the_free_memory_of_its_cards():
    first, second, silent = gpu("a", 100), gpu("b", 50), gpu("c")
    alone = Placement((first,), "float16", "float16", 70 * 2**20)
    assert [each.free for each in alone.gpus_after_loading([first, second, silent])] == [30, 50, None]
    shared = Placement((first, second), "float16", "float16", 120 * 2**20)
    assert [each.free for each in shared.gpus_after_loading([first, second])] == [40, 0]


def test_free_memory_is_known_only_where_all_cards_tell():
    assert free_memory([gpu("a", 3), gpu("b", 4)]) == 7 * 2**20
    assert free_memory([gpu("a", 3), gpu("b")]) == 0


@pytest.mark.parametrize("name", ["index.json", "model.safetensors", "thesis.txt", "deep/x.dat"])
def test_offload_folder_with_other_files_is_refused(model, tmp_path, name):
    loading = Loading(offload_folder=str(tmp_path / "offloaded"))
    place([], model, None, loading)  # it is made when it is needed
    file = tmp_path / "offloaded" / name
    file.parent.mkdir(parents=True)
    place([], model, None, loading) if file.parent.name == "offloaded" else None
    file.touch()
    with pytest.raises(InputError, match=r"offloaded/.*` was not put there by `--offload-folder`"):
        place([], model, None, loading)
    for folder in (model, file):
        with pytest.raises(InputError, match="a new or an empty folder"):
            place([], model, None, Loading(offload_folder=str(folder)))


def test_leftover_files_of_an_earlier_offload_are_accepted(model, tmp_path):
    for name in ("index.json", "lm_head.weight.dat", "lm_head.weight.safetensors"):
        (tmp_path / "offloaded").mkdir(exist_ok=True)
        (tmp_path / "offloaded" / name).touch()
    place([], model, None, Loading(offload_folder=str(tmp_path / "offloaded")))
