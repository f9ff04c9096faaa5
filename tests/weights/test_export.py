"""Export: PEFT's names and numbers, or a model's, from every kind of checkpoint, without torch."""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tracemalloc
from math import prod
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FtbridgeError, InputError, SetupError
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.runs import checkpoints
from ftbridge.templates.families import get_family
from ftbridge.weights.card import load_card
from ftbridge.weights.export import export
from ftbridge.weights.merge import adapter_of
from ftbridge.weights.output_folder import fresh_folder
from ftbridge.weights.source import resolve
from ftbridge.weights.tensors import safetensors
from ftbridge.weights.tensors.consolidate import read_weights

from ..builders.checkpoints import LAYER, LORA, weights, xtuner  # noqa: TID252
from ..builders.torch_files import floats, save, tensor, zero3  # noqa: TID252

PEFT = [f"base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight" for part in "AB"]
FULL = {"llm.model.embed_tokens.weight": (2, 3), "llm.model.norm.weight": (3,)}
BASE = '{"model_type": "qwen2", "tokens": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]}'
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "ftbridge.json"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Stand in a project with a base model and an interpreter that is never started."""
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    (tmp_path / "base").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"):
        (tmp_path / "base" / name).write_text(BASE)
    (tmp_path / "base" / "generation_config.json").write_text("{}")
    return tmp_path


def run(folder, backend="xtuner"):
    """Make a run that has succeeded; returns its output folder."""
    spec = msgspec.to_builtins(TrainSpec(backend=backend, model="base", dataset="faq", lora_alpha=32))
    attempt = {"started": "2026-01-02T00:00:00Z", "ended": "2026-01-02T00:01:00Z", "exit_code": 0}
    record = {"id": "one", "folder": "", "status": "succeeded", "spec": spec, "model": str(folder / "base")}
    record |= {"launch": {"argv": [], "env": {}, "cwd": "", "files": {}}, "family": "qwen2", "system": "说中文"}
    record |= {"samples": 1, "steps": 1, "versions": {}, "datasets": {}, "attempts": [attempt], "pid": os.getpid()}
    output = folder / "runs" / "one" / "output"
    output.mkdir(parents=True)
    (output.parent / "run.json").write_text(json.dumps(record))
    return output


def numbers(file):
    """Return a file's tensors by name, in its order: dtype, shape and numbers."""
    found = {}
    for name, each in safetensors.read(file).items():
        data = b"".join(each.pieces())
        if each.dtype == "BF16":
            data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        letter = "e" if each.dtype == "F16" else "f"
        found[name] = each.dtype, each.shape, list(struct.unpack(f"<{prod(each.shape)}{letter}", data))
    return found


def check_adapter(target, alpha, dtype="F32"):
    """See that `target` holds the adapter that was put into the checkpoint."""
    found = numbers(target / "adapter_model.safetensors")
    assert found == {PEFT[0]: (dtype, (2, 3), [*range(6)]), PEFT[1]: (dtype, (3, 2), [*range(6, 12)])}
    config = json.loads((target / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (2, alpha, ["q_proj"])
    assert config["base_model_name_or_path"] == str(Path("base").absolute())


def from_one(output):
    xtuner(output / "iter_9.pth", LORA)


def from_zero2(output):
    content = {"module": weights(LORA, "BFloat16Storage"), "meta": {"cfg": "lora_alpha=8"}}
    data = b"".join(floats(number)[2:] for number in range(12))
    save(output / "iter_9.pth" / "mp_rank_00_model_states.pt", content, _0=data)


def from_zero3(output):
    zero3(output / "iter_9.pth", LORA, 5)


@pytest.mark.parametrize(("write", "dtype"), [(from_one, "F32"), (from_zero2, "BF16"), (from_zero3, "F32")])
def test_a_run_gives_peft_its_adapter(folder, write, dtype):
    output = run(folder)
    xtuner(output / "iter_3.pth", FULL)
    write(output)
    target = export()
    assert target == folder / "runs" / "one" / "adapter"
    check_adapter(target, 8, dtype)
    assert {path.name for path in target.iterdir()} == TOKENIZER | {"adapter_config.json", "adapter_model.safetensors"}
    card = load_card(target)
    assert (card.system, card.run, card.checkpoint) == ("说中文", "one", "output/iter_9.pth")


def test_export_of_the_same_run_gives_the_same_files(folder):
    from_one(run(folder))
    before = {path.name: path.read_bytes() for path in export("one").iterdir()}
    assert {path.name: path.read_bytes() for path in export("runs/one").iterdir()} == before


def test_alpha_is_what_the_checkpoint_says_and_else_what_its_run_says(folder):
    """`--set model.lora.lora_alpha=...` changes what is trained, and not what the run says."""
    output = run(folder)
    xtuner(output / "iter_9.pth", LORA, "")
    check_adapter(export(), 32)
    xtuner(output / "iter_9.pth", LORA, "lora=dict(lora_alpha=4)")
    check_adapter(export(), 4)
    xtuner(output / "iter_9.pth", LORA, "lora=dict(lora_alpha=4, alpha_pattern=dict(q_proj=8))")
    with pytest.raises(InputError, match="alpha_pattern, which export does not know"):
        export()


def test_a_checkpoint_alone_needs_a_base_and_a_place_and_its_alpha(folder):
    file = xtuner(folder / "iter_9.pth", LORA)
    with pytest.raises(InputError, match="does not say which base"):
        export(file, out="new")
    with pytest.raises(InputError, match="--out DIR"):
        export(file, model="base")
    check_adapter(export(file, model="base", out="new"), 8)
    for meta in ("", {"lora_alpha": 8}):
        xtuner(file, LORA, meta)
        with pytest.raises(InputError, match="does not say its lora_alpha"):
            export(file, model="base", out="other")
    assert not (folder / "other").exists()


def test_in_a_mixture_of_experts_targets_mean_the_adapted_layers_alone(folder):
    expert = "model.layers.0.mlp.experts.0.q_proj.weight"
    safetensors.write(folder / "base" / "model.safetensors", [(expert, "F32", (1,), [bytes(4)])])
    target = export(xtuner(folder / "iter_9.pth", LORA, "lora_alpha=8"), model="base", out="new")
    assert json.loads((target / "adapter_config.json").read_text())["target_modules"] == ["self_attn.q_proj"]


def test_settings_and_tensors_that_change_a_merge_are_exported(folder):
    shapes = {**LORA, f"{LAYER}.lora_magnitude_vector.default.weight": (3,)}
    other = LAYER.replace("q_proj", "v_proj")
    shapes |= {f"{other}.lora_A.default.weight": (1, 3), f"{LAYER.replace('0', '1')}.lora_A.default.weight": (2, 1)}
    shapes["llm.base_model.model.lm_head.modules_to_save.default.weight"] = (1,)
    shapes["llm.base_model.model.model.embed_tokens.lora_embedding_A.default"] = (2, 1)
    file = xtuner(folder / "iter_9.pth", shapes, "lora_alpha=8, use_rslora=True", numbers=30)
    target = export(file, model="base", out="new")
    config = json.loads((target / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"], config["use_dora"]) == (2, 8, True, True)
    assert config["rank_pattern"] == {"model.layers.0.self_attn.v_proj": 1}
    assert (config["target_modules"], config["modules_to_save"]) == (["embed_tokens", "q_proj", "v_proj"], ["lm_head"])
    names = list(safetensors_header(target / "adapter_model.safetensors"))
    assert names[:3] == [*PEFT, PEFT[0].replace("lora_A.weight", "lora_magnitude_vector")]
    assert names[-2:] == ["base_model.model.lm_head.weight", "base_model.model.model.embed_tokens.lora_embedding_A"]


def test_target_modules_of_a_vision_model_are_named_in_full(folder):
    """PEFT would adapt the vision tower's q_proj as well."""
    (folder / "base" / "config.json").write_text(json.dumps({**json.loads(BASE), "vision_config": {}}))
    target = export(xtuner(folder / "iter_9.pth", LORA), model="base", out="new")
    config = json.loads((target / "adapter_config.json").read_text())
    assert config["target_modules"] == ["model.layers.0.self_attn.q_proj"]


def test_an_adapter_of_experts_without_its_rank_is_refused_by_name(folder):
    module = "llm.base_model.model.model.layers.0.mlp.experts.base_layer"
    shapes = {f"{module}.lora_A.default.weight": (2, 3), f"{module}.lora_B.default.weight": (3, 2)}
    with pytest.raises(InputError, match=r"experts `model\.layers\.0\.mlp\.experts` and .*`--backend llamafactory`"):
        export(xtuner(folder / "iter_9.pth", shapes), model="base", out="new")


@pytest.mark.parametrize("shapes", [dict(list(LORA.items())[1:]), {f"{LAYER}.lora_A.default.weight": ()}])
def test_an_adapter_without_a_rank_is_one_sentence(folder, shapes):
    file = xtuner(folder / "iter_9.pth", shapes)
    with pytest.raises(InputError, match="no `lora_A`, which gives its rank"):
        export(file, model="base", out="new")


def test_adapter_of_another_checkpoint_is_not_taken_for_the_last(folder):
    output = run(folder)
    xtuner(output / "iter_16.pth", LORA, numbers=12)
    last = export()
    xtuner(output / "best_val_loss_iter_16.pth", LORA, "lora_alpha=2")
    best = export("one", checkpoint="best")
    assert (last.name, best.name) == ("adapter", "adapter-best_val_loss_iter_16")
    check_adapter(best, 2)
    assert adapter_of(resolve("one")) == last
    assert adapter_of(resolve("one", "best")) == best
    xtuner(output / "iter_32.pth", LORA, "lora_alpha=4")
    check_adapter(adapter_of(resolve("one")), 4)
    assert export("one", checkpoint="1", out="there") == Path("there")
    assert load_card(Path("there")).checkpoint == "output/iter_16.pth"


@pytest.mark.parametrize(
    ("base", "kind", "dtype"),
    [
        ({}, "FloatStorage", "F32"),
        ({"torch_dtype": "float32"}, "FloatStorage", "F32"),
        ({"torch_dtype": "bfloat16"}, "FloatStorage", "BF16"),
        ({"dtype": "float16"}, "FloatStorage", "F16"),
        ({"dtype": "float16"}, "BFloat16Storage", "BF16"),
        ({"dtype": "float32"}, "BFloat16Storage", "BF16"),
    ],
)
def test_full_training_gives_a_model_in_the_bases_dtype(folder, base, kind, dtype):
    (folder / "base" / "config.json").write_text(json.dumps({**json.loads(BASE), "use_cache": True, **base}))
    (folder / "base" / "modeling_odd.py").write_text("")
    (folder / "base" / "generation_config.json").write_text('{"eos_token_id": 5}')  # as a base that is no chat model
    (folder / "base" / "tokenizer.json").write_text('{"added_tokens": [{"id": 7, "content": "<|im_end|>"}]}')
    tied = weights(FULL, kind) | {"llm.lm_head.weight": tensor((2, 3), kind=kind)}
    data = b"".join(floats(number)[0 if kind == "FloatStorage" else 2 :] for number in range(9))
    save(run(folder) / "iter_9.pth", {"state_dict": tied}, _0=data)
    target = export()
    assert numbers(target / "model.safetensors") == {
        name.removeprefix("llm."): (dtype, shape, [*range(start, start + prod(shape))])
        for (name, shape), start in zip(FULL.items(), (0, 6), strict=True)
    }
    config = json.loads((target / "config.json").read_text())
    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    assert (config.get("torch_dtype") or config["dtype"]) == names[dtype]
    assert json.loads((target / "generation_config.json").read_text()) == {"eos_token_id": [7, 5]}
    own = {"config.json", "generation_config.json", "model.safetensors", "modeling_odd.py"}
    assert {path.name for path in target.iterdir()} == TOKENIZER | own


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(folder):
    (folder / "base" / "config.json").write_text(json.dumps({**json.loads(BASE), "dtype": "bfloat16"}))
    shapes = {f"llm.{number}.weight": (1000, 5000) for number in range(5)}
    save(run(folder) / "iter_9.pth", {"state_dict": weights(shapes)}, _0=bytes(100 << 20))
    tracemalloc.start()
    target = export()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (target / "model.safetensors").stat().st_size > 50_000_000
    assert peak < 40 << 20


def test_a_full_training_under_zero3_gives_a_model_as_well(folder, monkeypatch):
    monkeypatch.setattr(safetensors.write_model, "__defaults__", (30,))
    zero3(run(folder) / "iter_9.pth", FULL, 2)
    target = export()
    assert numbers(target / "model-00001-of-00002.safetensors") == {
        "model.embed_tokens.weight": ("F32", (2, 3), [*range(6)])
    }
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert index["weight_map"]["model.norm.weight"] == "model-00002-of-00002.safetensors"


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"state_dict": []}, "text"])
def test_a_checkpoint_without_weights_leaves_nothing(folder, content):
    save(run(folder) / "iter_9.pth", content)
    with pytest.raises(InputError, match="holds no weights"):
        export()
    assert {path.name for path in (folder / "runs" / "one").iterdir()} == {"run.json", "output"}


def test_llamafactorys_adapter_comes_without_what_only_training_needs(folder):
    output = run(folder, "llamafactory")
    entries = [(name, "F32", shape, [floats(*range(6))]) for name, shape in zip(PEFT, LORA.values(), strict=True)]
    safetensors.write(output / "adapter_model.safetensors", entries)
    for name in ("tokenizer.json", "optimizer.pt", "trainer_log.jsonl"):
        (output / name).write_text("its own")
    (output / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "base_model_name_or_path": "elsewhere"}')
    target = export()
    assert {path.name for path in target.iterdir()} == TOKENIZER | {"adapter_config.json", "adapter_model.safetensors"}
    assert (target / "tokenizer.json").read_text() == "its own"
    assert numbers(target / "adapter_model.safetensors") == numbers(output / "adapter_model.safetensors")
    config = json.loads((target / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (2, str(folder / "base"))


def test_llamafactorys_model_generates_with_a_cache_again(folder):
    (folder / "base" / "config.json").write_text(json.dumps({**json.loads(BASE), "use_cache": True}))
    output = run(folder, "llamafactory")
    safetensors.write(output / "model.safetensors", [("norm", "BF16", (1,), [b"12"])])
    (output / "config.json").write_text('{"dtype": "bfloat16", "use_cache": false, "vocab_size": 5}')
    target = export()
    config = json.loads((target / "config.json").read_text())
    dtypes = {"dtype": "bfloat16", "torch_dtype": "bfloat16"}
    assert config == {**json.loads(BASE), **dtypes, "use_cache": True, "vocab_size": 5}
    assert (target / "model.safetensors").read_bytes().endswith(b"12")


def test_a_base_without_a_chat_template_gets_the_familys(folder):
    from_one(run(folder))
    own = get_family("qwen2").cell("xtuner").prompt.chat_template()
    assert (export() / "chat_template.jinja").read_text() == own
    (folder / "base" / "chat_template.jinja").write_text("the base's own")
    assert (export() / "chat_template.jinja").read_text() == "the base's own"
    (folder / "base" / "chat_template.jinja").unlink()
    (folder / "base" / "tokenizer_config.json").write_text('{"chat_template": "the base\'s own"}')
    assert not (export() / "chat_template.jinja").exists()


def test_the_chat_template_adds_no_system_prompt_where_the_training_had_none(folder):
    from_one(run(folder))
    record = folder / "runs" / "one" / "run.json"
    record.write_text(record.read_text().replace(json.dumps("说中文"), '""'))
    own = get_family("qwen2").cell("xtuner").prompt.chat_template()
    added = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    (folder / "base" / "chat_template.jinja").write_text(added + own)
    assert (export() / "chat_template.jinja").read_text() == "{% if messages[0].role != 'system' %}{% endif %}" + own


def test_a_folder_without_a_checkpoint_is_one_sentence(folder):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="empty` is not a model: neither a run, a checkpoint, an adapter nor a model"):
        export("empty", model="base", out="new")
    (folder / "empty" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="holds neither a checkpoint nor an adapter"):
        export("empty", model="base", out="new")


@pytest.mark.slow
@pytest.mark.parametrize("write", [from_one, from_zero2, from_zero3])
def test_a_checkpoint_that_is_cut_anywhere_leaves_nothing(folder, write):
    output = run(folder)
    write(output)
    kept = folder / "kept"
    for file in [path for path in output.rglob("*") if path.is_file()]:
        whole = file.read_bytes()
        for size in range(0, len(whole), len(whole) // 15):
            file.write_bytes(whole[:size])
            # Named by its path: as a run's newest one it would be left out, for not being readable.
            with pytest.raises(InputError, match="is damaged or no checkpoint") as error:
                export(output / "iter_9.pth", model="base", out="new")
            assert "\n" not in str(error.value)
        file.write_bytes(whole)
    assert not list(folder.glob("*new*"))
    check_adapter(export(output / "iter_9.pth", model="base", out=kept), 8, "BF16" if write is from_zero2 else "F32")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder):
    file = xtuner(folder / "iter_9.pth", {**LORA, f"{LAYER}.lora_A.two.weight": (99, 99)}, numbers=20_000)
    before = sorted(folder.rglob("*"))
    old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[0][1]))
    try:
        with pytest.raises(SetupError, match=r"cannot write `.*adapter_model.safetensors`: File too large"):
            export(file, model="base", out="new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old[0])
        signal.signal(signal.SIGXFSZ, old[1])
    assert sorted(folder.rglob("*")) == before


def test_an_adapter_that_is_there_stays_when_the_next_export_fails(folder):
    output = run(folder)
    from_one(output)
    check_adapter(export(), 8)
    shutil.copy(xtuner(folder / "two.pth", LORA, "alpha_pattern"), output / "iter_9.pth")
    with pytest.raises(FtbridgeError):
        export()
    check_adapter(folder / "runs" / "one" / "adapter", 8)


JUDGE = Path(__file__).with_name("export_judge.py")


def judged(python, *calls):
    """Have the judge compare in the training environment."""
    asked = json.dumps([list(map(str, call)) for call in calls])
    done = subprocess.run([python, JUDGE, asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.framework
def test_shares_are_put_together_as_deepspeed_does_it(training_python, tmp_path):
    judged(training_python, ("make_shards", tmp_path / "shards"))
    places = sorted((tmp_path / "shards").iterdir())
    assert len(places) == 5
    for place in places:
        expected = safetensors.read(place / "expected.safetensors")
        found = read_weights(place).tensors
        assert {name: (each.dtype, each.shape, b"".join(each.pieces())) for name, each in found.items()} == {
            name: (each.dtype, each.shape, b"".join(each.pieces())) for name, each in expected.items()
        }


ZERO3 = {"gpus": 2, "deepspeed": "zero3", "max_steps": 2}  # trained anyway, by another test


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize(
    "options",
    [ZERO3, {**ZERO3, "deepspeed": "zero3-offload"}, {**ZERO3, "method": "lora", "dora": True, "rslora": True}],
)
def test_an_adapter_under_zero3_is_deepspeeds_and_xtuners_own(trained, in_project, training_python, tmp_path, options):
    run = trained(backend="xtuner", **options)
    adapter, checkpoint = ftbridge.export(run.id), checkpoints.last_checkpoint(run)
    calls = [("gathered", checkpoint, adapter), ("loads", in_project / "base", adapter)]
    if options == ZERO3:
        calls.append(("converted", run.path / "xtuner_config.py", checkpoint, tmp_path / "own", adapter))
    judged(training_python, *calls)


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize(
    ("options", "judge"),
    [
        ({"backend": "xtuner", "gpus": 1}, "held"),
        ({"backend": "xtuner", "gpus": 2, "deepspeed": "zero1"}, "held"),
        ({"backend": "xtuner", "gpus": 2, "deepspeed": "zero2"}, "held"),
        ({"backend": "xtuner", "gpus": 2, "deepspeed": "zero3"}, "gathered"),
        ({"backend": "llamafactory", "gpus": 2, "deepspeed": "zero3"}, "gathered"),
    ],
)
def test_full_training_gives_the_model_that_was_trained(trained, in_project, training_python, tmp_path, options, judge):
    run = trained(method="full", **options)
    checkpoint, model = checkpoints.last_checkpoint(run), ftbridge.export(run.id)
    calls = [("loads_model", in_project / "base", model)]
    if options["backend"] == "llamafactory":
        [checkpoint] = run.path.glob("output/checkpoint-*/global_step*")
        base = str(in_project / "base")
        calls.append(("gathered", checkpoint, ftbridge.export(checkpoint, model=base, out=tmp_path / "gathered")))
    judged(training_python, *calls, (judge, checkpoint, model))


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_peft_loads_the_adapter(trained, in_project, training_python, backend):
    adapter = ftbridge.export(trained(backend=backend).id)
    judged(training_python, ("loads", in_project / "base", adapter))


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("base", "base model is there"),
        ("base/new", "base model is around it"),
        ("base/../base", "base model is there"),
        ("link", "base model is there"),
        ("runs/one", "run itself is there"),
        ("runs", "run itself is in it"),
        (".", "run itself is in it"),
        ("runs/one/output", "run's `output` is there"),
        ("runs/one/output/iter_9.pth", "run's `output` is around it"),
        ("runs/one/predictions", "run's `predictions` is there"),
        ("runs/one/predictions/faq-test", "run's `predictions` is around it"),
        ("runs/one/tracking", "run's `tracking` is there"),
        ("runs/one/merged", "holds a merged model"),
        ("runs/two", "base model of the run `two` is there"),
        ("runs/other", "run `other` is there"),
        ("runs/other/adapter", "run `other` is around it"),
        ("linked/merged", "run `other` is around it"),
    ],
)
def test_export_onto_its_base_source_or_run_is_refused(folder, out, said):
    from_one(run(folder))
    Path("link").symlink_to("base")
    Path("linked").symlink_to("runs/other")
    with fresh_folder(Path("runs/one/merged"), "merged"):
        pass
    with fresh_folder(Path("runs/two"), "adapter"):
        pass
    record = json.loads(Path("runs/one/run.json").read_text())
    Path("runs/other").mkdir()
    Path("runs/other/run.json").write_text(json.dumps(record | {"id": "two", "model": str(folder / "runs" / "two")}))
    before = everything(folder)
    for command in [export] if "merged" in said else [export, ftbridge.merge]:
        with pytest.raises(InputError, match=f"{said}.*--out"):
            command("one", out=out)
    assert everything(folder) == before


def test_an_adapter_is_not_merged_onto_what_it_is_made_of(folder):
    from_one(run(folder))
    adapter = export(out="there")
    Path("more").mkdir()
    before = everything(folder)
    for out, said in {
        "there": "source is there",
        "there/merged": "source is around it",
        "more": "adapter `more` is",
    }.items():
        with pytest.raises(InputError, match=f"cannot be written to: the {said}.*--out"):
            ftbridge.merge(adapter, out=out, adapters=[("more", 1.0)])
    with pytest.raises(InputError, match="cannot be written to: the base model is there"):
        ftbridge.merge(adapter, model="base", out="base")
    with pytest.raises(InputError, match=r"adapter `.*/adapter` is there"):
        ftbridge.merge("one", out="runs/one/adapter")
    assert everything(folder) == before


def test_an_adapter_in_a_run_is_merged_into_nothing_that_the_run_keeps(folder):
    from_one(run(folder))
    adapter = export()
    for name in ("output", "predictions/faq-test", "tracking/new"):
        with pytest.raises(InputError, match=f"cannot be written to: the run's `{name.partition('/')[0]}` is"):
            ftbridge.merge(adapter, out=Path("runs/one", name))


def test_renewed_export_refuses_a_folder_with_foreign_files(folder):
    output = run(folder)
    from_one(output)
    notes = export() / "my_notes.txt"
    notes.write_text("mine")
    xtuner(output / "iter_16.pth", LORA, "lora_alpha=4")
    with pytest.raises(InputError, match=r"did not write: `my_notes\.txt`; move that away"):
        adapter_of(resolve("one"))
    notes.rename(folder / "my_notes.txt")
    check_adapter(adapter_of(resolve("one")), 4)
