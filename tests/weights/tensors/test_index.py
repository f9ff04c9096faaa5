"""Where tensors lie: in whole files of either kind, and never in a damaged one."""

import json
import struct

import pytest

from ftbridge.core.errors import InputError
from ftbridge.weights.tensors import index as tensors
from ftbridge.weights.tensors import safetensors


def save(file, **shapes):
    safetensors.write(file, [(name, "BF16", shape, [bytes(range(2 * shape[0]))]) for name, shape in shapes.items()])
    return file


def read(tensor):
    return b"".join(tensor.pieces())


def test_the_place_of_a_tensor_is_where_its_bytes_are(tmp_path):
    save(tmp_path / "model.safetensors", a=(3,), b=(2,))
    found = tensors.model_tensors(tmp_path)
    assert list(found) == ["a", "b"]
    assert (found["b"].dtype, found["b"].shape, read(found["b"])) == ("BF16", (2,), bytes(range(4)))


def index(folder, name, **weight_map):
    (folder / name).write_text(json.dumps({"weight_map": weight_map}))


def test_an_index_says_which_files_count(tmp_path):
    save(tmp_path / "model-1.safetensors", a=(3,))
    save(tmp_path / "model-old.safetensors", a=(1,), c=(1,))
    index(tmp_path, "model.safetensors.index.json", a="model-1.safetensors")
    assert tensors.model_tensors(tmp_path)["a"].shape == (3,)
    index(tmp_path, "model.safetensors.index.json", a="model-1.safetensors", b="model-1.safetensors")
    with pytest.raises(InputError, match=r"1 tensor that is in no file, e\.g\. `b`"):
        tensors.model_tensors(tmp_path)
    index(tmp_path, "model.safetensors.index.json", a="model-2.safetensors")
    with pytest.raises(InputError, match=r"model-2\.safetensors`: the file is missing"):
        tensors.model_tensors(tmp_path)


def test_a_file_cut_short_or_with_wrong_sizes_is_refused(tmp_path):
    file = save(tmp_path / "model.safetensors", a=(3,))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="damaged or no safetensors file"):
        tensors.model_tensors(tmp_path)
    file.write_bytes(whole.replace(b"[3]", b"[4]"))
    with pytest.raises(InputError, match="damaged, or `a` of a dtype"):
        tensors.model_tensors(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no weights"):
        tensors.model_tensors(tmp_path)
    with pytest.raises(InputError, match="holds no adapter_model"):
        tensors.adapter_tensors(tmp_path)


@pytest.mark.framework
def test_tensors_saved_by_torch_lie_where_the_zip_says(tmp_path, training_python):
    import subprocess

    code = (
        "import sys, torch; w = torch.arange(6.).view(2, 3)\n"
        "torch.save({'a': w, 'rest': w[1:], 'number': 5}, sys.argv[1])"
    )
    file = tmp_path / "pytorch_model.bin"
    subprocess.run([training_python, "-c", code, file], check=True)
    found = tensors.model_tensors(tmp_path)
    assert list(found) == ["a", "rest"]
    assert read(found["a"]) == struct.pack("<6f", *range(6))
    assert (found["rest"].shape, read(found["rest"])) == ((1, 3), struct.pack("<3f", 3, 4, 5))
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        tensors.model_tensors(tmp_path)
