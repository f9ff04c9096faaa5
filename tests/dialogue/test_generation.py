"""The child that generates, how its text comes, and how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import FrameworkError, InputError, SetupError
from ftbridge.dialogue.generation import Generator, Sampling, _out_of_memory
from ftbridge.dialogue.placement import Loading
from ftbridge.launchers.hardware import devices, nvidia
from ftbridge.launchers.process import script
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.templates.families import get_family
from ftbridge.weights.card import ModelCard, card_of
from ftbridge.weights.source import resolve

# Feeds an answer's tokens one by one, as transformers does, and prints the pieces that came after each.
STREAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from generate import AnswerStreamer
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
found = []
for text, words in json.loads(sys.argv[3]):
    pieces = []
    answer = AnswerStreamer(tokenizer, words, lambda record: pieces.append(record["text"]))
    answer.put(torch.tensor([[1, 2, 3]]))
    for token in tokenizer.encode(text):
        answer.put(torch.tensor([token]))
        if answer.stopped:
            break
    answer.end()
    found.append((pieces, answer.stopped))
print(json.dumps(found))
"""
TEXT = "Aspirin 阿司匹林は痛みを和らげる。👩‍⚕️ ยาแก้ปวด\n<b>"


def stream(python: Path, model: Path, *cases: tuple[str, list[str]]) -> list[tuple[list[str], bool]]:
    argv = [python, "-c", STREAM, SCRIPTS, model, msgspec.json.encode(cases)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return msgspec.json.decode(done.stdout, type=list[tuple[list[str], bool]])


@pytest.mark.framework
def test_text_comes_letter_by_letter_and_ends_before_a_stop_word(project, training_python):
    free, stopped, nearly, at_once = stream(
        training_python,
        project / "base",
        (TEXT, []),
        (TEXT, ["</b>", "和らげる", "痛みを和らげる"]),
        (TEXT, ["<b>!", "<b>?"]),
        (TEXT, ["Aspirin"]),
    )
    assert ("".join(free[0]), free[1]) == (TEXT, False)
    assert len(free[0]) > len(TEXT) / 2
    assert ("".join(stopped[0]), stopped[1]) == ("Aspirin 阿司匹林は", True)
    assert ("".join(nearly[0]), nearly[0][-1], nearly[1]) == (TEXT, "<b>", False)
    assert at_once == ([], True)


@pytest.mark.framework
def test_a_model_that_cannot_be_loaded_is_told_with_its_messages(trained, in_project, training_python, tmp_path):
    card = card_of(resolve(trained(backend="xtuner").id))
    (tmp_path / "config.json").write_text("{}")
    generator = Generator(training_python, card, tmp_path, None, ())
    with pytest.raises(FrameworkError, match="could not be loaded"), generator:
        pass


@pytest.mark.framework
def test_prompt_of_another_family_is_refused_and_a_dead_child_is_told(in_project, training_python):
    card = card_of(resolve("base"), template="qwen2.5")
    other = card_of(resolve("base"), template="glm4")
    with Generator(training_python, card, in_project / "base", None, ()) as generator:
        generator.card = other
        with pytest.raises(InputError, match=r"the tokenizer has no `\[gMASK\]`: this is the prompt of another"):
            list(generator.ask([("?", None)], "", (), Sampling()))
        generator.card = card
        assert "".join(generator.ask([("?", None)], "", (), Sampling(max_new_tokens=3)))
        generator._child.process.kill()
        with pytest.raises(FrameworkError, match="its process was killed, as happens where memory runs out; take"):
            list(generator.ask([("?", None)], "", (), Sampling()))


@pytest.mark.framework
def test_a_model_goes_on_after_what_it_cannot_answer_and_ends_where_it_can_no_longer_be_asked(
    in_project, training_python
):
    card = card_of(resolve("base"), template="qwen2.5")
    with Generator(training_python, card, in_project / "base", None, ()) as generator:
        for turns, system in (
            ([("\ud83d", None)], ""),
            ([("?", "\udcff"), ("?", None)], ""),
            ([("?", None)], "\ud83d"),
        ):
            with pytest.raises(InputError, match="holds an invalid character"):
                list(generator.ask(turns, system, (), Sampling()))
        with pytest.raises(InputError, match="prompt 2 holds an invalid character"):
            list(generator.batch([["?"], ["\ud83d"]], (), Sampling()))
        request = {"number": -1, "segments": [None], "adapter": 0, "stop": [], "max_new_tokens": 10**30}
        generator._send(request | {"seed": 10**30, "temperature": "x"})  # a fault of no kind that is foreseen
        assert "error" in generator._receive()
        assert "".join(generator.ask([("?", None)], "", (), Sampling(max_new_tokens=3)))
        generator._child.process.stdin.write(b"no JSON\n")
        generator._child.process.stdin.flush()
        with pytest.raises(FrameworkError, match=r"(?s)the model died.*JSONDecodeError"):
            list(generator.ask([("?", None)], "", (), Sampling()))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"temperature": float("nan")}, "`temperature` must be a number from 0.0 to 100.0"),
        ({"temperature": float("inf")}, "`temperature` must be a number"),
        ({"temperature": None}, "`temperature` must be a number"),
        ({"temperature": "0"}, "`temperature` must be a number"),
        ({"temperature": 1e-9}, "`temperature` must be 0, or a number of at least 0.0001"),
        ({"repetition_penalty": 1e-9}, "`repetition_penalty` must be a number from 0.01 to 100.0"),
        ({"top_p": 0}, "`top_p` must be a number from 0.0001 to 1.0"),
        ({"top_k": 1.5}, "`top_k` must be a whole number from 0 to 2147483647"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be a whole number from 1 to 2147483647"),
        ({"max_new_tokens": True}, "`max_new_tokens` must be a whole number"),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 4294967295"),
        ({"seed": 10**400}, "`seed` must be a whole number"),
        ({"stop_words": ("a", "\ud83d")}, "a stop word holds an invalid character"),
    ],
)
def test_impossible_sampling_settings_are_refused_from_python_and_json(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Sampling(**setting)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(setting, Sampling)


@pytest.mark.framework
def test_out_of_memory_of_torch_is_recognised(training_python):
    done = subprocess.run(
        [training_python, "-c", "import torch; torch.empty(10**15)"], capture_output=True, text=True, check=False
    )
    assert _out_of_memory(done.stderr)


def test_out_of_memory_of_cublas_is_recognised():
    assert _out_of_memory("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


TEMPLATE = msgspec.to_builtins(get_family("qwen2.5").cell("xtuner").prompt)
CARD = ModelCard(base="", family="qwen2.5", backend="xtuner", template=TEMPLATE, system="", thinking="none")
# Stands for generate.py: notes what it was started with, and answers with what it was asked.
CHILD = """
import json, os, pathlib, sys
environment = {key: value for key, value in os.environ.items() if key.startswith("CUDA")}
pathlib.Path(sys.argv[0]).with_name("started.json").write_text(json.dumps([json.loads(sys.argv[1]), environment]))
print('{"ready": true}', flush=True)
request = json.loads(sys.stdin.readline())
print(json.dumps({"number": request["number"], "error": request["stop"][0]}), flush=True)
sys.stdin.read()
"""
OLD, NEW = "0, GPU-old, Tesla T4, 15360, 7.5, 570.86.15, 14914", "1, GPU-new, A100, 81920, 8.0, 570.86.15, 9000"


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Return a function that loads a model in bfloat16 on cards as nvidia-smi tells of them; it returns the start."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    (tmp_path / "generate.py").write_text(CHILD)
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    smi = tmp_path / "nvidia-smi"

    def load(*cards, **loading):
        smi.write_text("#!/bin/sh\n" + "".join(f"echo '{card}'\n" for card in cards))
        smi.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path))
            patch.setattr(nvidia, "_answers", {})
            found = devices.usable_gpus("auto")
            generator = Generator(Path(sys.executable), CARD, tmp_path, None, found, Loading(**loading))
        with generator:
            pass
        return json.loads((tmp_path / "started.json").read_text())

    return load


@pytest.mark.parametrize(
    ("cards", "loading", "shown", "told"),
    [
        ([OLD], {}, "GPU-old", {"device": "cuda", "dtype": "float16", "compute_dtype": "float16"}),
        ([OLD, NEW], {"bits": 4}, "GPU-old", {"dtype": "float16", "compute_dtype": "float16", "bits": 4}),
        ([NEW], {}, "GPU-new", {"device": "cuda", "dtype": "bfloat16", "compute_dtype": "bfloat16"}),
        ([OLD], {"dtype": "float32"}, "GPU-old", {"dtype": "float32"}),
        (["No devices were found"], {}, "", {"device": "cpu", "dtype": "bfloat16", "compute_dtype": "float32"}),
    ],
)
def test_generating_child_sees_its_cards_and_gets_their_dtypes(child, cards, loading, shown, told):
    spec, environment = child(*cards, **loading)
    assert environment["CUDA_VISIBLE_DEVICES"] == shown
    assert environment.get("CUDA_DEVICE_ORDER") == ("PCI_BUS_ID" if shown else None)
    assert spec | told == spec


def test_model_larger_than_free_gpu_memory_is_warned_of(child, tmp_path, capsys):
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(2**20))
    child("0, GPU-full, A100, 81920, 8.0, 570.86.15, 1")
    assert capsys.readouterr().err.count("answers come slowly; `--bits 4` helps") == 1


def test_out_of_memory_while_answering_is_a_setup_error(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    (tmp_path / "generate.py").write_text(CHILD)
    loading = Generator(Path(sys.executable), CARD, tmp_path, None, ())
    with loading as generator, pytest.raises(SetupError, match="memory ran out"):
        list(generator.ask([("?", None)], "", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED"], Sampling()))


@pytest.mark.parametrize(
    ("whole", "remedy"),
    [("True", r"`ftbridge merge 'an adapter' --model \S+ --out DIR`"), ("False", "export it again")],
)
def test_an_adapter_that_does_not_fit_is_one_sentence(tmp_path, monkeypatch, whole, remedy):
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    said = f'{{"misfit": "it lacks 2 tensors", "whole": {whole}, "adapter": 0}}'
    (tmp_path / "generate.py").write_text(f"import json; print(json.dumps({said}))")
    generator = Generator(Path(sys.executable), CARD, tmp_path, Path("an adapter"), ())
    with pytest.raises(
        InputError, match=rf"^the adapter `an adapter` does not fit \S+: it lacks 2 tensors; .*{remedy}"
    ):
        generator.__enter__()


def test_a_quantised_model_that_is_too_big_for_the_card_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    said = "Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit ..."
    (tmp_path / "generate.py").write_text(f"raise ValueError({said!r})")
    generator = Generator(Path(sys.executable), CARD, tmp_path, None, ())
    with pytest.raises(SetupError, match=r"^the model does not fit into the free memory of the GPU.*`--device cpu`$"):
        generator.__enter__()


# What load() hands to transformers, for each spec.
LOAD = """
import json, sys, types
sys.path.insert(0, sys.argv[1])
import generate

def note(_, quantization_config=None, **options):
    if quantization_config:
        options |= {"compute": str(quantization_config.bnb_4bit_compute_dtype), "4": quantization_config.load_in_4bit}
    found.append(options)
    return types.SimpleNamespace(eval=lambda: None)

found = []
generate.torch.cuda.is_available = lambda: True
generate.AutoTokenizer = types.SimpleNamespace(from_pretrained=lambda *_, **__: None)
generate.model_class = lambda *_: types.SimpleNamespace(from_pretrained=note)
for spec in json.loads(sys.argv[2]):
    generate.load_model({"model": "", "adapters": [], "trust_remote_code": False, "offload_folder": None} | spec)
print(json.dumps(found))
"""


@pytest.mark.framework
def test_loading_options_reach_transformers(training_python):
    half = {"dtype": "float16", "compute_dtype": "float16"}
    specs = [
        {"device": "cuda", "bits": None, **half},
        {"device": "cuda", "bits": 4, **half},
        {"device": "cpu", "bits": 4, "dtype": "bfloat16", "compute_dtype": "float32"},
        {"device": "cpu", "bits": 8, "dtype": "auto", "compute_dtype": "float32"},
        {"device": "cpu", "bits": None, "dtype": "bfloat16", "compute_dtype": "float32"},
    ]
    done = subprocess.run(
        [training_python, "-c", LOAD, SCRIPTS, json.dumps(specs)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(each["dtype"], each["device_map"]) for each in found] == [
        ("float16", "auto"), ("float16", "auto"), ("bfloat16", "cpu"), ("auto", "cpu"), ("bfloat16", None),
    ]  # fmt: skip
    assert [each.get("compute") for each in found[:3]] == [None, "torch.float16", "torch.float32"]
    assert [each.get("4") for each in found] == [None, True, True, False, None]


# An adapter on shared experts, loaded as it was trained; PEFT alone would look for it on the other experts.
SHARED_EXPERTS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
import generate
from mends import take_targets_as_written
from peft import LoraConfig, get_peft_model
from peft.utils import transformers_weight_conversion as conversion

as_peft_does = conversion._convert_peft_config_moe
take_targets_as_written()
torch.manual_seed(0)
base = generate.AutoModelForCausalLM.from_pretrained(sys.argv[2])
config = LoraConfig(target_modules=["mlp.down_proj", "shared_experts.down_proj"], init_lora_weights=False)
made = get_peft_model(base, config).eval()
made.save_pretrained(sys.argv[3])
conversion._convert_peft_config_moe = as_peft_does
options = {"bits": None, "dtype": "auto", "device": "cpu", "offload_folder": None, "trust_remote_code": False}
loaded = generate.load_model({"model": sys.argv[2], "adapters": [sys.argv[3]], **options})[1]
ids = torch.arange(9)[None]
with torch.no_grad():
    assert torch.equal(loaded(ids).logits, made(ids).logits)
"""


@pytest.mark.framework
def test_an_adapter_on_shared_experts_is_loaded_as_it_was_trained(training_python, project, tmp_path):
    maker = Path(__file__).parents[1] / "builders" / "tiny_models.py"
    subprocess.run([training_python, maker, project / "base", tmp_path, "glm4_moe"], capture_output=True, check=True)
    argv = [training_python, "-c", SHARED_EXPERTS, SCRIPTS, tmp_path / "glm4_moe", tmp_path / "adapter"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
