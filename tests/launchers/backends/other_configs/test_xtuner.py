"""XTuner's configs, read and never run."""

import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.launchers.backends.other_configs import xtuner
from ftbridge.launchers.environment.venv import default_folder

# As XTuner's own configs are.
CONFIG = """
import torch
from mmengine.optim import AmpOptimWrapper, CosineAnnealingLR, LinearLR
from torch.optim import AdamW
from xtuner.utils import PROMPT_TEMPLATE, SYSTEM_TEMPLATE

pretrained_model_name_or_path = "Qwen/Qwen1.5-0.5B-Chat"
prompt_template = PROMPT_TEMPLATE.qwen_chat
max_length = 2048
pack_to_max_length = True
sequence_parallel_size = 1
batch_size = 2
accumulative_counts = 4
accumulative_counts *= sequence_parallel_size
max_epochs = 3
optim_type = AdamW
lr = 2e-4
warmup_ratio = 0.03
save_steps = 500

model = dict(
    type=SupervisedFinetune,
    llm=dict(
        type=AutoModelForCausalLM.from_pretrained,
        pretrained_model_name_or_path=pretrained_model_name_or_path,
        trust_remote_code=True,
        quantization_config=dict(type=BitsAndBytesConfig, load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    ),
    lora=dict(type=LoraConfig, r=64, lora_alpha=16, lora_dropout=0.1),
)
train_dataset = dict(
    type=process_hf_dataset,
    dataset=dict(type=load_dataset, path="json", data_files=dict(train="medqa.jsonl")),
    max_length=max_length,
    template_map_fn=dict(type=template_map_fn_factory, template=prompt_template),
    pack_to_max_length=pack_to_max_length,
)
train_dataloader = dict(batch_size=batch_size, dataset=train_dataset)
optim_wrapper = dict(
    type=AmpOptimWrapper,
    optimizer=dict(type=optim_type, lr=lr, betas=(0.9, 0.999), weight_decay=0),
    clip_grad=dict(max_norm=1, error_if_nonfinite=False),
    accumulative_counts=accumulative_counts,
)
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-5, by_epoch=True, begin=0, end=warmup_ratio * max_epochs),
    dict(type=CosineAnnealingLR, eta_min=0.0, by_epoch=True, begin=warmup_ratio * max_epochs, end=max_epochs),
]
train_cfg = dict(type=TrainLoop, max_epochs=max_epochs)
custom_hooks = [dict(type=DatasetInfoHook, tokenizer=tokenizer), dict(type=Mine)]
default_hooks = dict(checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=save_steps, max_keep_ckpts=2))
randomness = dict(seed=None)
"""


def test_a_config_becomes_options_and_says_what_has_no_counterpart():
    found = xtuner.translate_config(CONFIG, "`c.py`")
    assert found.options == {
        "backend": "xtuner",
        "model": "Qwen/Qwen1.5-0.5B-Chat",
        "method": "qlora",
        "lora_rank": 64,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "quantization_bits": 4,
        "quantization_type": "nf4",
        "cutoff_length": 2048,
        "packing": True,
        "micro_batch_size": 2,
        "optimizer": "adamw",
        "learning_rate": 2e-4,
        "weight_decay": 0,
        "max_gradient_norm": 1,
        "gradient_accumulation_steps": 4,
        "epochs": 3,
        "scheduler": "cosine",
        "warmup_ratio": 0.03,
        "save_steps": 125,  # it counts iterations
        "save_limit": 2,
    }
    assert found.data == ("medqa.jsonl",)
    assert [*found.left_out] == [
        "trust_remote_code: True",
        "prompt_template: qwen_chat",
        "custom_hooks: Mine",
    ]


@pytest.mark.parametrize(
    ("old", "new", "option", "value"),
    [
        ("    lora=dict(type=LoraConfig, r=64, lora_alpha=16, lora_dropout=0.1),\n", "", "method", "full"),
        ("max_epochs=max_epochs)", "max_iters=30)", "max_steps", 8),
        ("type=optim_type", 'type="PagedAdamW32bit"', "optimizer", "paged_adamw_32bit"),
        ("load_in_4bit=True", "load_in_8bit=True", "quantization_bits", 8),
        ("seed=None", "seed=7", "seed", 7),
        ("lr = 2e-4", "lr: float = 1e-3 / 2", "learning_rate", 5e-4),
        ("r=64", 'r=64, target_modules=["q_proj"]', "lora_targets", ("q_proj",)),
    ],
)
def test_a_changed_line_changes_the_option(old, new, option, value):
    assert old in CONFIG
    assert xtuner.translate_config(CONFIG.replace(old, new), "it").options[option] == value


def test_a_config_is_never_run(tmp_path):
    marks = [
        f"open({str(tmp_path / 'one')!r}, 'w')",
        f"x = [open({str(tmp_path / 'two')!r}, 'w') for _ in (1,)]",
        f"from os import system; system('touch {tmp_path / 'three'}')",
        "bomb = 'a' * 10**12",
        "deep = " + "-" * 200 + "1",
        "none = 1 / 0",
    ]
    found = xtuner.translate_config("\n".join([*marks, CONFIG]), "it")
    assert found.options["lora_rank"] == 64
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("lr = = 2", InputError, r"^`c.py` is not a readable config in Python \(line 1\): invalid syntax"),
        ("x = " + "(" * 5000, InputError, "is not a readable config"),
        ("lr = 2e-4", InputError, "is not a config of XTuner"),
        (CONFIG.replace("type=SupervisedFinetune", "type=DPO"), UsageError, "SupervisedFinetune, not DPO"),
    ],
)
def test_what_is_no_config_of_a_training_is_one_sentence(text, error, message):
    with pytest.raises(error, match=message) as told:
        xtuner.translate_config(text, "`c.py`")
    assert len(str(told.value)) < 300


@pytest.mark.framework
def test_xtuners_own_configs_are_read():
    folder = next(default_folder().glob("lib/python3*/site-packages/xtuner/configs"))
    files = sorted(folder.glob("qwen/**/*.py"))
    assert files
    for file in files:
        found = xtuner.translate_config(file.read_text("utf-8"), file.name)
        assert {"model", "method", "learning_rate", "epochs", "scheduler", "warmup_ratio"} <= found.options.keys(), file
