"""What is mended in the frameworks, where no other test's model would show it."""

import json
import subprocess

import pytest

from ftbridge.launchers.process.script import SCRIPTS

# A whole Llama 4, asked about text alone.
LLAMA4 = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from transformers import Llama4Config, Llama4ForConditionalGeneration

common = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1}
text = {**common, "vocab_size": 64, "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 2, "pad_token_id": 0}
vision = {**common, "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32, "image_size": 16}
config = Llama4Config(text_config={**text, "intermediate_size_mlp": 64}, vision_config={**vision, "patch_size": 4})
model, ids, found = Llama4ForConditionalGeneration(config), torch.arange(9)[None], []
for mended in (False, True):
    if mended:
        from mends import allow_llama4_without_images
        allow_llama4_without_images()
    try:
        found.append(bool(model(input_ids=ids, labels=ids).loss > 0))
    except AttributeError as error:
        found.append(str(error))
print(json.dumps(found))
"""

# A quantised layer that is trained: without a validation before, after one, and after one with the mend.
QUANTISED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from bitsandbytes.nn import Linear4bit, modules

modules.has_avx512bf16, found = lambda: True, []
for case in ("fresh", "validated", "mended"):
    if case == "mended":
        from mends import mend
        mend({"device": "cpu"})
    torch.manual_seed(0)
    layer, x = Linear4bit(64, 64, compute_dtype=torch.float32).to("cpu"), torch.ones(1, 64, requires_grad=True)
    try:
        if case != "fresh":
            with torch.no_grad():
                layer.eval()(torch.ones(1, 64))
        layer.train()(x).sum().backward()
        found.append(x.grad.tolist())
    except (AttributeError, RuntimeError) as error:
        found.append(str(error))
print(json.dumps(found))
"""


@pytest.mark.framework
def test_quantised_layers_learn_after_a_validation_on_any_cpu(training_python):
    done = subprocess.run([training_python, "-c", QUANTISED, SCRIPTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fresh, validated, mended = json.loads(done.stdout.splitlines()[-1])
    assert validated != fresh
    assert mended == fresh


@pytest.mark.framework
def test_a_whole_llama_4_learns_from_text(training_python):
    done = subprocess.run([training_python, "-c", LLAMA4, SCRIPTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout.splitlines()[-1])
    assert "image_outputs" in before
    assert after is True
