"""The rendered configs: as text against golden files, and as what the frameworks themselves build from them.

After a wanted change, `UPDATE_GOLDEN=1 pytest tests/templates/test_golden.py` writes the files anew.
"""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.plugins import load_backend
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.backends.plan import TrainPlan, load_deepspeed
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from ftbridge.launchers.training.prepare import prepare
from ftbridge.templates.families import get_family
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.chat_template import ChatTemplate
from ftbridge.tokens.ready import Counts, Fingerprint, ReadyTokens, TokenOptions

from ..conftest import SMALL  # noqa: TID252

GOLDEN = Path(__file__).with_name("golden")
BUILD = Path(__file__).with_name("build.py")
CPU, GPUS, OLD = Devices("cpu", 1, "float32"), Devices("cuda", 2, "bfloat16"), Devices("cuda", 1, "float16")
CASES = {
    "qlora-cpu": (CPU, "qwen2.5", {}),
    "qlora-two-gpus": (GPUS, "qwen3", {"deepspeed": "zero2", "gpus": 2}),
    "lora-old-gpu": (OLD, "llama3", {"method": "lora", "scheduler": "linear", "epochs": 2.5}),
    "full-two-gpus": (GPUS, "glm4", {"method": "full", "gpus": 2, "scheduler": "constant"}),
    "packed-zero3": (
        GPUS,
        "qwen2.5",
        {
            "deepspeed": "zero3-offload",
            "quantization_type": "fp4",
            "double_quantization": False,
            "lora_targets": ("q_proj", "v_proj"),
            "rslora": True,
            "optimizer": "adafactor",
            "weight_decay": 0.01,
            "max_gradient_norm": 0.5,
            "packing": True,
            "gradient_checkpointing": False,
            "attention": "flash_attention_2",
            "save_limit": 5,
        },
    ),
}
# Of ready tokens; with a validation set, which the last of the options is about.
ONCE = {
    "once": (CPU, {"chat_template": "plain", "learn": "last"}, False),
    "once-validated": (CPU, {"validation_steps": 50}, True),
    "once-packed-validated": (GPUS, {"packing": True, "gpus": 2, "deepspeed": "zero2"}, True),
}
# Every option that shows in what the frameworks build.
BUILT = (
    {},
    {"method": "lora", "optimizer": "adafactor", "attention": "eager", "dora": True},
    {"method": "full", "optimizer": "sgd", "attention": "sdpa", "gradient_checkpointing": False},
    {"template": "qwen3", "quantization_type": "fp4", "rslora": True, "lora_targets": ("q_proj", "v_proj")},
    {"quantization_bits": 8, "packing": True, "cutoff_length": 1024},
)


def golden_plan(backend, machine, family, options):
    spec = TrainSpec(**{"backend": backend, "model": "base", "dataset": "medqa", "tokens": "native", **options})
    entry = DatasetEntry(
        version="0.1.0",
        files={"xtuner": "medqa-train.xtuner.jsonl", "alpaca": "medqa-train.alpaca.jsonl"},
        samples=483,
        sources={},
        columns={},
    )
    return TrainPlan(
        spec=spec,
        run=Path("/project/runs/RUN"),
        model=Path("/models/base"),
        dataset="medqa-train",
        dataset_dir=Path("/project/data"),
        entry=entry,
        family=get_family(family),
        machine=machine,
        deepspeed=load_deepspeed(spec.deepspeed, Path("/project"), machine),
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_rendered_config_equals_the_golden_file(backend, case):
    rendered = load_backend(backend).render(golden_plan(backend, *CASES[case]))
    assert rendered
    for name, text in rendered.items():
        file = GOLDEN / f"{backend}-{case}{Path(name).suffix}"
        if os.environ.get("UPDATE_GOLDEN"):
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")


def ready(folder, samples, rows, *, packing=False):
    """Return made-up ready tokens, whose folder is that of their key."""
    fingerprint = Fingerprint(
        messages=f"{samples:064}", tokenizer={"tokenizer.json": "b" * 64}, chat_template="c" * 64,
        options=TokenOptions(cutoff_length=2048, packing=packing), code="d" * 64, version="5.24.0",
    )  # fmt: skip
    counts = Counts(conversations=samples, samples=samples, rows=rows, tokens=9000, answer_tokens=900, longest=400)
    agreement = Agreement(samples=20, same=20, readers=())
    return ReadyTokens(folder=folder / fingerprint.key, fingerprint=fingerprint, counts=counts, agreement=agreement)


@pytest.mark.parametrize("case", ONCE)
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_rendered_config_of_ready_tokens_equals_the_golden_file(backend, case, tmp_path):
    machine, options, validated = ONCE[case]
    packing = options.get("packing", False)
    plan = golden_plan(backend, machine, "qwen2.5", {"tokens": "once", **options})
    entry = msgspec.structs.replace(plan.entry, samples=40)
    plan = msgspec.structs.replace(
        plan,
        family=None,
        chat_template=ChatTemplate("{{ messages }}", "the chat template of `base`", None),
        tokens=ready(tmp_path, 483, 60 if packing else 483, packing=packing),
        validation=Dataset("medqa-validation", plan.dataset_dir, entry) if validated else None,
        validation_tokens=ready(tmp_path, 40, 40) if validated else None,
    )
    rendered = load_backend(backend).render(plan)
    assert rendered
    for name, text in rendered.items():
        file = GOLDEN / f"{backend}-{case}{Path(name).suffix}"
        found = text.replace(str(tmp_path), "/project/.ftbridge/tokens")
        if os.environ.get("UPDATE_GOLDEN"):
            file.write_text(found, encoding="utf-8")
        assert found == file.read_text(encoding="utf-8")
        assert "/project/.ftbridge/tokens" in found or name.endswith(".json")


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_the_framework_builds_what_the_config_names(project, training_python, tmp_path, backend):
    """Tokenizer, first batch, optimiser and model, for all methods and a template of ours, in one process."""
    configs = []
    for case in BUILT:
        with contextlib.chdir(project):
            ready = prepare(yes=True, **{**SMALL, "dataset": "medqa", "backend": backend, "tokens": "native", **case})
        for name, content in ready.launch.files.items():
            path = tmp_path / str(len(configs)) / Path(name).name
            write_atomic(path, content.replace(str(ready.plan.run), str(path.parent)))
        configs.append(tmp_path / str(len(configs)) / Path(next(iter(ready.launch.files))).name)
    done = subprocess.run(
        [training_python, BUILD, backend, *configs],
        env={**os.environ, **CHILD_ENV, "PYTHONPATH": str(SCRIPTS), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = [line.split("\t")[1:] for line in done.stdout.splitlines() if line.startswith("BUILT\t")]
    linear = {"qlora": ["14", "True"], "lora": ["0", "True"], "full": ["0", "False"]}
    expected = [linear["qlora"], linear["lora"], linear["full"], linear["qlora"], linear["lora"]]
    assert [each[:2] for each in built] == expected
    for _, _, text, _ in built:
        assert "<|im_start|>user" in text
    for _, _, text, _ in built[:-1]:  # packed samples are cut anywhere
        assert "professional" in text
    assert "<think>" in built[3][2]
    assert "<think>" not in built[0][2]
    facts = [json.loads(each[3]) for each in built]
    assert [each["optimizer"] for each in facts] == ["AdamW", "Adafactor", "SGD", "AdamW", "AdamW"]
    assert [each["attention"] for each in facts[1:3]] == ["eager", "sdpa"]
    assert [each["checkpointing"] for each in facts] == [True, True, False, True, True]
    assert [each["dora"] for each in facts] == [False, True, False, False, False]
    assert [each["rslora"] for each in facts] == [False, False, False, True, False]
    assert [each["types"] for each in facts] == [["nf4"], [], [], ["fp4"], []]
    assert [each["int8"] for each in facts] == [0, 0, 0, 0, 14]
    assert facts[3]["targets"] == ["q_proj", "v_proj"]
    assert len(facts[0]["targets"]) == 7
    assert built[-1][2].count("<|im_start|>user") > 1  # packed
