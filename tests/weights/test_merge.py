"""From a real checkpoint to an adapter and a merged model, judged by PEFT's and the frameworks' own tools."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.weights.card import load_card
from ftbridge.weights.merge import merge_weights
from ftbridge.weights.tensors import index as tensors
from ftbridge.weights.tensors import safetensors

from ..builders import torch_files  # noqa: TID252

pytestmark = pytest.mark.framework
BACKENDS = ["xtuner", "llamafactory"]
JUDGE = Path(__file__).with_name("judge.py")
PEFT = Path(__file__).with_name("peft_adapters.py")
# What the others show is shown by these, too, but for one thing each.
COMMON = ["rslora", "dora", "embedding", "saved", "gpt2", "several"]
RARE = ["lora", "patterns", "resized", "embedding-dora", "bias", "all-biases", "gpt2-dora", "nf4", "fp4"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_export_gives_a_peft_adapter(trained, in_project, backend):
    run = trained(backend=backend)
    adapter = ftbridge.export(run.id)
    header = safetensors_header(adapter / "adapter_model.safetensors")
    assert header is not None
    assert len(header) == 2 * 14  # A and B of seven linear layers in each of two blocks
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    card = load_card(adapter)
    assert card is not None
    assert (card.backend, card.chat_template, card.run) == (backend, run.chat_template, run.id)
    assert run.chat_template
    assert card.system.startswith("You are a professional, highly experienced doctor")


@pytest.mark.parametrize("backend", BACKENDS)
def test_merged_is_base_plus_adapter_in_the_bases_dtype(trained, in_project, training_python, tmp_path, backend):
    run = trained(backend=backend)
    merged = ftbridge.merge(run.id, out=tmp_path / "merged", shard_size=200_000)
    headers = [safetensors_header(file) or {} for file in merged.glob("*.safetensors")]
    assert len(headers) > 1
    assert {tensor["dtype"] for header in headers for tensor in header.values()} == {"BF16"}
    done = subprocess.run(
        [training_python, JUDGE, in_project / "base", run.path / "adapter", merged],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.matrix
@pytest.mark.parametrize("gpus", [1, 2])
def test_export_equals_xtuners_own(trained, in_project, training_python, tmp_path, gpus):
    run = trained(backend="xtuner", gpus=gpus)
    adapter = ftbridge.export(run.id)
    checkpoint = max((run.path / "output").glob("iter_*.pth"))
    done = subprocess.run(
        [training_python, JUDGE, "--xtuner", run.path / "xtuner_config.py", checkpoint, tmp_path / "own", adapter],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_checkpoint_without_a_known_base_needs_the_model_option(tmp_path, monkeypatch, in_project):
    (tmp_path / "iter_1.pth").write_bytes(b"nothing")
    with pytest.raises(InputError, match="--model"):
        ftbridge.export(tmp_path / "iter_1.pth", out=tmp_path / "out")
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        ftbridge.export(tmp_path / "iter_1.pth", model=str(in_project / "base"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def cases(tmp_path_factory, training_python):
    """Return a function that gives the folder of a case; what is in `names` is made in one process."""
    folder = tmp_path_factory.mktemp("cases")

    def case(name):
        if not (folder / name).is_dir():
            names = COMMON if name in COMMON else RARE
            subprocess.run([training_python, PEFT, folder, *names], check=True, capture_output=True)
        return folder / name

    return case


def merged_case(folder, out, training_python, **options):
    out.mkdir(parents=True)
    adapters = [(folder / "adapter", 1.0), *([(folder / "other", -0.3)] if (folder / "other").is_dir() else [])]
    return merge_weights(training_python, folder / "base", adapters, out, **options)


def content(tensor):
    return b"".join(tensor.pieces())


@pytest.mark.parametrize("name", [*COMMON, *(pytest.param(rare, marks=pytest.mark.matrix) for rare in RARE)])
def test_merge_equals_pefts_own_bit_for_bit(cases, training_python, tmp_path, name):
    folder = cases(name)
    four_bits = {"type": name, "double": name == "nf4", "dtype": "BF16"} if name in {"nf4", "fp4"} else None
    config = merged_case(folder, tmp_path / "new", training_python, rounding=four_bits, shard_size=10**6)
    ours, theirs = tensors.model_tensors(tmp_path / "new"), tensors.file_tensors(folder / "expected.safetensors")
    if config.get("tie_word_embeddings", True):  # PEFT's state has the tied tensor twice
        theirs.pop("lm_head.weight", None)
    assert ours.keys() == theirs.keys()
    for tensor in theirs:
        assert (ours[tensor].dtype, ours[tensor].shape) == (theirs[tensor].dtype, theirs[tensor].shape), tensor
        assert content(ours[tensor]) == content(theirs[tensor]), tensor
    assert (
        config["vocab_size"]
        == theirs[next(name for name in theirs if "embed_tokens" in name or "wte" in name)].shape[0]
    )


def test_shards_have_the_size_asked_for_and_an_index(cases, training_python, tmp_path):
    merged_case(cases("rslora"), tmp_path / "new", training_python, shard_size=700_000)
    index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "new").glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert set(index["weight_map"].values()) == set(files)
    places = tensors.model_tensors(tmp_path / "new")
    assert index["metadata"]["total_size"] == sum(place.size for place in places.values())
    for file in files:
        sizes = [places[name].size for name, where in index["weight_map"].items() if where == file]
        assert sum(sizes) <= 700_000 or len(sizes) == 1


def rewritten(adapter, out, change):
    """Copy an adapter; `change` gets the numbers of each tensor (float32), and gives others."""
    import numpy as np

    shutil.copytree(adapter, out)
    places = tensors.adapter_tensors(adapter)
    made = [
        (name, "F32", place.shape, [change(name, np.frombuffer(content(place), "f4")).tobytes()])
        for name, place in places.items()
    ]
    safetensors.write(out / "adapter_model.safetensors", made)
    return out


def test_a_training_that_diverged_is_not_merged(cases, training_python, tmp_path):
    broken = rewritten(cases("rslora") / "adapter", tmp_path / "adapter", lambda _, values: values * float("nan"))
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match=r"`model\.layers\.0\..*` is not finite.*the training has diverged"):
        merge_weights(training_python, cases("rslora") / "base", [(broken, 1.0)], tmp_path / "new")


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.safetensors"])
def test_an_adapter_of_no_tensors_is_refused_before_anything_is_computed(tmp_path, name):
    base, adapter, new = (tmp_path / name for name in ("base", "adapter", "new"))
    for folder in (base, adapter, new):
        folder.mkdir()
    (base / "config.json").write_text("{}")
    safetensors.write(base / "model.safetensors", [("norm.weight", "F32", (2,), [bytes(8)])])
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    if name.endswith(".bin"):
        torch_files.save(adapter / name, {})
    else:
        safetensors.write(adapter / name, [])
    with pytest.raises(InputError, match="the adapter is empty: it holds no tensors to merge"):
        merge_weights(tmp_path / "no python", base, [(adapter, 1.0)], new)
    assert not list(new.iterdir())


def test_a_merge_that_changes_nothing_is_an_error_and_a_little_is_a_note(cases, training_python, tmp_path, capsys):
    base, adapter = cases("rslora") / "base", cases("rslora") / "adapter"
    empty = rewritten(adapter, tmp_path / "empty", lambda _, values: values * 0)
    half = rewritten(adapter, tmp_path / "half", lambda name, values: values * ("q_proj" in name))
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match=r"changes nothing: all .* \(2 tensors\) .* e\.g\. `model\.layers\.0"):
        merge_weights(training_python, base, [(empty, 1.0)], tmp_path / "new")
    merge_weights(training_python, base, [(half, 1.0)], tmp_path / "new")
    assert "1 of 2 tensors that the adapter touches stay as they are, e.g. `model.layers.0" in capsys.readouterr().err


MERGE = """
import sys
from pathlib import Path
from ftbridge.weights.output_folder import fresh_folder
from ftbridge.weights.merge import merge_weights
python, base, adapter, target = map(Path, sys.argv[1:])
with fresh_folder(target, "merged") as new:
    merge_weights(python, base, [(adapter, 1.0)], new)
    (new / "ftbridge.json").write_text("{}")
"""


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.nightly)])
def test_merge_killed_at_any_moment_leaves_nothing_that_looks_finished(cases, training_python, tmp_path, times):
    folder, target = cases("rslora"), tmp_path / "merged"
    argv = [sys.executable, "-c", MERGE, training_python, folder / "base", folder / "adapter", target]
    start = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True)
    seconds = time.monotonic() - start
    whole = (target / "model.safetensors").read_bytes()
    moments = random.Random(0)  # noqa: S311 - no secret
    for _ in range(times):
        shutil.rmtree(target, ignore_errors=True)
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(moments.uniform(0, seconds))
            child.kill()
        assert not target.exists() or (target / "model.safetensors").read_bytes() == whole
    subprocess.run(argv, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == [target]  # what the killed ones left is gone


def test_a_base_that_is_not_whole_or_does_not_fit_is_one_sentence(cases, training_python, tmp_path):
    base = shutil.copytree(cases("rslora") / "base", tmp_path / "base")
    (tmp_path / "new").mkdir()

    def merge():
        merge_weights(training_python, base, [(cases("rslora") / "adapter", 1.0)], tmp_path / "new")

    with pytest.raises(InputError, match=r"does not fit the base: `transformer\.h\.0.*--model"):
        merge_weights(training_python, base, [(cases("gpt2") / "adapter", 1.0)], tmp_path / "new")
    shard = min(base.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{shard.name}` is damaged or no safetensors file"):
        merge()
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard.name}`: the file is missing"):
        merge()
    assert not list((tmp_path / "new").iterdir())


def test_a_gpu_that_fails_is_one_sentence(cases, training_python, tmp_path):
    card = Gpu("A100", 81920, 8.0, "570.86.15", 9000, "GPU-that-is-not-there")
    with pytest.raises(SetupError, match=r"^the GPU failed in the merge \(.+\); `--device cpu` does it without$"):
        merged_case(cases("rslora"), tmp_path / "new", training_python, gpus=[card])


@pytest.mark.parametrize(("device", "used"), [("auto", []), ("cpu", []), ("cuda", ["GPU-b"])])
def test_a_merge_takes_the_freest_gpu_where_one_is_asked_for(trained, in_project, tmp_path, monkeypatch, device, used):
    present = [Gpu("A100", 81920, 8.0, "570.86.15", free, f"GPU-{name}") for name, free in (("a", 1), ("b", 9))]
    monkeypatch.setattr(devices, "gpus", lambda: present)

    def merge_weights(*_, gpus, **__):
        assert [gpu.uuid for gpu in gpus] == used
        raise InputError("enough")

    monkeypatch.setattr("ftbridge.weights.merge.merge_weights", merge_weights)
    with pytest.raises(InputError, match="enough"):
        ftbridge.merge(trained(backend="xtuner").id, out=tmp_path / "merged", device=device)


def test_merge_onto_other_bits_than_the_run_trained_on_is_refused(trained, in_project):
    run = trained(backend="xtuner")
    with pytest.raises(UsageError, match="the run trained on nf4, not fp4: `--onto nf4`"):
        ftbridge.merge(run.id, onto="fp4")
    with pytest.raises(UsageError, match="leave out `--onto` and `--adapter`"):
        ftbridge.merge(run.id, onto="nf4", check=print)


@pytest.mark.parametrize(("told", "dtype"), [("float32", "F32"), ("float16", "F16"), ("", "BF16")])
def test_four_bits_are_made_in_the_dtype_of_the_training(trained, in_project, tmp_path, monkeypatch, told, dtype):
    run = trained(backend="xtuner")
    launch = json.loads((run.path / "launch.json").read_text())
    assert launch.pop("dtype") == "float32"  # the CPU's
    shutil.copytree(run.path, tmp_path / "run")
    changed = launch | ({"dtype": told} if told else {})
    (tmp_path / "run" / "launch.json").write_text(json.dumps(changed))

    def merge_weights(*_, rounding, **__):
        assert rounding == {"type": "nf4", "double": True, "dtype": dtype}
        raise InputError("enough")

    monkeypatch.setattr("ftbridge.weights.merge.merge_weights", merge_weights)
    with pytest.raises(InputError, match="enough"):
        ftbridge.merge(tmp_path / "run", out=tmp_path / "merged", onto="nf4")


def test_a_base_that_changed_since_the_training_is_refused(trained, in_project, tmp_path):
    """The frameworks leave the base as it was, so that its fingerprint holds; another base's does not."""
    run = trained(backend="xtuner")
    base = shutil.copytree(in_project / "base", tmp_path / "base")
    shutil.copytree(run.path, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text()) | {"model": str(base)}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert ftbridge.merge(tmp_path / "run").is_dir()
    with (base / "model.safetensors").open("r+b") as file:
        place = tensors.model_tensors(base)["model.norm.weight"].place
        file.seek(place.start)
        file.write(bytes([1]) * place.size)
    with pytest.raises(InputError, match=r"1 of its \d+ tensors differ, such as `model\.norm\.weight`"):
        ftbridge.merge(tmp_path / "run")
