"""A training, decided: how many steps it takes, and with which DeepSpeed config."""

import json

import msgspec
import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.launchers.backends.plan import load_deepspeed, offloads, paths_outside_run

from ...builders.plans import ONE, TWO, plan  # noqa: TID252


@pytest.mark.parametrize(
    ("values", "iterations", "steps"),
    [
        ({"epochs": 1}, 100, 7),
        ({"epochs": 3}, 300, 19),
        ({"epochs": 0.5}, 50, 4),
        ({"epochs": 1, "machine": TWO}, 50, 4),
        ({"epochs": 1, "machine": TWO, "samples": 3}, 2, 1),
        ({"epochs": 3, "micro_batch_size": 8}, 39, 3),
        ({"epochs": 1, "samples": 1}, 1, 1),
        ({"epochs": 2, "gradient_accumulation_steps": 1, "micro_batch_size": 100}, 2, 2),
        ({"epochs": 0.001, "samples": 1}, 1, 1),
    ],
)
def test_steps_are_counted_as_the_frameworks_do(values, iterations, steps):
    planned = plan(**values)
    assert (planned.iterations, planned.steps) == (iterations, steps)


@pytest.mark.parametrize(
    ("values", "warmup"),
    [
        ({"samples": 1}, 1),
        ({"warmup_ratio": 0.0}, 1),
        ({"samples": 1600, "epochs": 1}, 3),
        ({"warmup_ratio": 0.5}, 10),
    ],
)
def test_warming_up_takes_one_step_at_least(values, warmup):
    assert plan(**values).warmup_steps == warmup


@pytest.mark.parametrize(("samples", "processes"), [(1, 1), (9_999, 1), (10_000, 2), (10**6, 8)])
def test_small_data_is_tokenised_by_one_process(samples, processes):
    assert plan(samples).map_processes == processes


@pytest.mark.parametrize(
    ("values", "distributed"), [({}, False), ({"machine": TWO}, True), ({"deepspeed": {"a": 1}}, True)]
)
def test_several_processes_and_deepspeed_need_the_launcher(values, distributed):
    assert plan(**values).distributed is distributed


@pytest.mark.parametrize(
    ("name", "machine", "used"),
    [("none", TWO, False), ("auto", ONE, False), ("auto", TWO, True), ("zero2", ONE, True)],
)
def test_deepspeed_is_used_where_it_is_asked_for_or_useful(tmp_path, name, machine, used):
    config = load_deepspeed(name, tmp_path, machine)
    assert (config is not None) is used
    if config:
        assert config["zero_optimization"]["stage"] == 2


@pytest.mark.parametrize("machine", [ONE, TWO])
def test_deepspeed_dtype_is_that_of_the_machine(tmp_path, machine):
    config = load_deepspeed("zero2", tmp_path, machine)
    assert config["bf16"]["enabled"] is (machine.dtype == "bfloat16")
    assert config["fp16"]["enabled"] is (machine.dtype == "float16")


def test_a_file_of_the_user_is_read_from_the_project_and_kept(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"steps_per_print": 7, "fp16": {"enabled": False}}))
    config = load_deepspeed("mine.json", tmp_path, TWO)
    assert config == {"steps_per_print": 7, "fp16": {"enabled": False}, "bf16": {"enabled": False}}


@pytest.mark.parametrize("content", ["", "[]", "{'a': 1}", '{"a":' * 9999])
def test_unreadable_deepspeed_file_is_one_sentence(tmp_path, content):
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(InputError, match=r"`.*mine.json` is not a DeepSpeed config"):
        load_deepspeed("mine.json", tmp_path, ONE)


@pytest.mark.parametrize(
    "content",
    [
        {"zero_optimization": []},
        {"zero_optimization": None},
        {"zero_optimization": "auto"},
        {"zero_optimization": {"stage": "2"}},
        {"zero_optimization": {"stage": 9}},
        {"zero_optimization": {"stage": True}},
        {"zero_optimization": {"stage": 2, "offload_optimizer": "cpu"}},
        {"zero_optimization": {"stage": 3, "offload_param": ["cpu"]}},
    ],
)
def test_deepspeed_file_that_deepspeed_rejects_is_one_sentence(tmp_path, content):
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"^the DeepSpeed config `mine.json` "):
        load_deepspeed("mine.json", tmp_path, TWO)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"tensorboard": {"enabled": True, "output_path": "/x"}},
            "turns on `tensorboard`; take it out, and let `--track`",
        ),
        ({"wandb": {"enabled": True, "project": "p"}}, "turns on `wandb`"),
        ({"comet": {"enabled": "true"}}, "turns on `comet`"),
        ({"csv_monitor": {"enabled": 1, "job_name": "../up"}}, "turns on `csv_monitor`"),
        ({"nebula": {"enabled": True, "persistent_storage_path": "/x"}}, "turns on `nebula`"),
        ({"autotuning": {"enabled": True, "results_dir": "/x"}}, "turns on `autotuning`"),
        (
            {"torch_autocast": {"enabled": True, "lower_precision_safe_modules": ["torch.nn.Linear", "evil.Module"]}},
            "would have the Python module of `evil.Module` imported",
        ),
    ],
)
def test_deepspeed_file_that_would_do_more_than_train_is_refused(tmp_path, content, expected):
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"^the DeepSpeed config `mine.json` {expected}"):
        load_deepspeed("mine.json", tmp_path, TWO)


def test_disabled_features_in_a_deepspeed_file_are_allowed(tmp_path):
    content = {"wandb": {"enabled": False}, "tensorboard": {}, "csv_monitor": None, "autotuning": {"fast": True}}
    content |= {"torch_autocast": {"lower_precision_safe_modules": ["torch.nn.Linear"]}}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert load_deepspeed("mine.json", tmp_path, TWO).keys() >= content.keys()


def test_places_outside_the_runs_folder_are_found_wherever_they_stand():
    metrics = {"difficulty": {"index_to_sample_path": "/index", "difficulty_type": "value"}}
    config = {
        "zero_optimization": {"stage": 3, "offload_param": {"device": "nvme", "nvme_path": "/nvme"}},
        "flops_profiler": {"enabled": True, "output_file": "in/../../flops.txt"},
        "data_efficiency": {"curriculum": [{"metrics": metrics}, {"data_cluster_path": "~/cluster"}]},
        "checkpoint": {"folder": "inside", "version": "1..2"},
        "compile": {"cache": "..\\up"},
    }
    assert paths_outside_run(config) == {
        "compile.cache": "..\\up",
        "data_efficiency.curriculum.data_cluster_path": "~/cluster",
        "data_efficiency.curriculum.metrics.difficulty.index_to_sample_path": "/index",
        "flops_profiler.output_file": "in/../../flops.txt",
        "zero_optimization.offload_param.nvme_path": "/nvme",
    }
    assert paths_outside_run(None) == {}


def test_deepspeed_offload_of_null_counts_as_none(tmp_path):
    content = {"zero_optimization": {"stage": 2, "offload_optimizer": None}}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert not offloads(load_deepspeed("mine.json", tmp_path, TWO), "offload_optimizer")


def test_unknown_deepspeed_config_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no DeepSpeed config at `.*absent.json`"):
        load_deepspeed("absent.json", tmp_path, ONE)
    with pytest.raises(UsageError, match="there is no DeepSpeed config `zero9`"):
        load_deepspeed("zero9", tmp_path, ONE)


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_max_steps_take_the_place_of_epochs(backend):
    planned = plan(max_steps=5, gradient_accumulation_steps=4, packing=True, backend=backend)
    assert (planned.steps, planned.iterations, planned.warmup_steps) == (5, 20, 1)
    assert not planned.estimated


def test_steps_of_packed_samples_are_guessed_from_the_file(tmp_path):
    (tmp_path / "faq.jsonl").write_text("x" * 4 * 2048 * 10)
    options = {"epochs": 1, "gradient_accumulation_steps": 1}
    planned = plan(packing=True, **options)
    entry = msgspec.structs.replace(planned.entry, files={"xtuner": "faq.jsonl"})
    packed = msgspec.structs.replace(planned, entry=entry, dataset_dir=tmp_path)
    assert planned.steps == 100  # the file is not there
    assert (packed.steps, packed.estimated) == (10, True)
    assert msgspec.structs.replace(packed, spec=plan(**options).spec).steps == 100


@pytest.mark.parametrize(
    ("deepspeed", "stage"),
    [(None, 0), ({}, 0), ({"zero_optimization": {"stage": 3}}, 3), ({"zero_optimization": 1}, 0)],
)
def test_the_zero_stage_is_read_from_any_config(deepspeed, stage):
    assert plan(deepspeed=deepspeed).zero_stage == stage


@pytest.mark.parametrize(
    ("name", "stage", "offloaded"),
    [
        ("zero1", 1, set()),
        ("zero2", 2, set()),
        ("zero2-offload", 2, {"offload_optimizer"}),
        ("zero3", 3, set()),
        ("zero3-offload", 3, {"offload_optimizer", "offload_param"}),
    ],
)
def test_the_shipped_configs_say_what_they_are_called(tmp_path, name, stage, offloaded):
    config = load_deepspeed(name, tmp_path, TWO)
    zero = config["zero_optimization"]
    assert zero["stage"] == stage
    assert {key for key in zero if key.startswith("offload")} == offloaded
    assert zero.get("stage3_gather_16bit_weights_on_model_save", False) is (stage == 3)
    assert config.get("zero_force_ds_cpu_optimizer", True) is not bool(offloaded)


@pytest.mark.parametrize(
    ("values", "every", "kept"),
    [
        ({"samples": 483}, 19, 3),  # 91 steps: a fifth of the run
        ({"samples": 483, "epochs": 1}, 7, 3),
        ({"samples": 483, "epochs": 10}, 31, 3),  # an epoch
        ({"samples": 16, "epochs": 100}, 5, 3),  # a hundred epochs of a step: twenty checkpoints
        ({"samples": 16, "epochs": 1}, 1, 1),
        ({"max_steps": 1000, "samples": 100_000}, 200, 3),
        ({"samples": 483, "save_steps": 500}, 500, 1),
        ({"samples": 483, "save_steps": 40, "save_limit": 9}, 40, 3),
    ],
)
def test_checkpoints_come_at_each_epoch_or_five_times_a_run_and_validations_with_them(values, every, kept):
    planned = plan(**values)
    assert planned.save_steps == every
    assert planned.kept_checkpoints == kept
    assert planned.validation_steps == every
    assert plan(**values, validation_steps=7).validation_steps == 7
