"""Adapters that PEFT loads with no more than a warning, and answers as the bare base with."""

import json
import subprocess

import pytest

from ftbridge.launchers.process.script import SCRIPTS

# What is said of each adapter, made of one that fits.
FIT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from adapter_fit import MisfitError, load_adapter_onto
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

def base():
    return AutoModelForCausalLM.from_pretrained(sys.argv[2])

def said(model, folder):
    try:
        return type(load_adapter_onto(model, str(folder))).__name__
    except MisfitError as error:
        return [str(error), error.whole]

def changed(name, change):
    folder = Path(name)
    lora().save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    save_file({change(key): value for key, value in load_file(file).items() if change(key)}, file)
    return folder

def lora(model=None):
    return get_peft_model(model or base(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))

resized = base()
resized.resize_token_embeddings(resized.config.vocab_size + 9)
lora(resized).save_pretrained("resized")
get_peft_model(base(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)).save_pretrained("prompt")
smaller = base()
del smaller.model.layers[1:]
print(json.dumps({
    "whole": said(base(), changed("whole", str)),
    "prompt": said(base(), "prompt"),
    "renamed": said(base(), changed("renamed", lambda key: key.removeprefix("base_model.model."))),
    "half": said(base(), changed("half", lambda key: key if ".layers.0." in key else "")),
    "a layer more": said(smaller, "whole"),
    "resized": said(base(), "resized"),
}))
"""


@pytest.fixture(scope="module")
def said(training_python, project, tmp_path_factory):
    argv = [training_python, "-c", FIT, SCRIPTS, project / "base"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path_factory.mktemp("fit"))
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.framework
def test_adapter_that_fits_the_model_is_loaded(said):
    assert (said["whole"], said["prompt"]) == ("PeftModelForCausalLM", "PeftModelForCausalLM")


@pytest.mark.framework
def test_tensors_without_a_place_are_refused(said):
    words, whole = said["renamed"]
    assert words.startswith("the model has no place for 4 of its tensors, e.g. `model.layers.")
    assert whole
    words, whole = said["a layer more"]
    assert words.startswith("the model has no place for 2 of its tensors, e.g. `base_model.model.model.layers.1.")
    assert whole


@pytest.mark.framework
def test_places_without_a_tensor_are_refused(said):
    words, whole = said["half"]
    assert words.startswith("it lacks 2 tensors, e.g. `base_model.model.model.layers.1.self_attn.q_proj.lora_")
    assert not whole


@pytest.mark.framework
def test_adapter_of_another_vocabulary_is_refused_with_both_shapes(said):
    words, whole = said["resized"]
    assert "embed_tokens.weight` has the shape [" in words
    assert whole
