# XTuner config written by ftbridge for the run 'RUN'.
# To train again: ftbridge train --backend xtuner (all options stand in run.json beside this file).
import torch
from datasets import load_from_disk
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.optim import AmpOptimWrapper, CosineAnnealingLR, LinearLR, OptimWrapper
from peft import LoraConfig
from torch.optim import AdamW
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from xtuner.dataset.collate_fns import default_collate_fn
from xtuner.engine.hooks import DatasetInfoHook
from xtuner.model import SupervisedFinetune
from xtuner_loop import TokenMeanLoop
from xtuner_steps import StepHook
from xtuner_validation import LastCheckpointHook, ValidationLoop  # stands beside the helper that starts XTuner

# Model and tokenizer
tokenizer = dict(
    type=AutoTokenizer.from_pretrained,
    pretrained_model_name_or_path='/models/base',
    trust_remote_code=False,
    padding_side="right",
)
model = dict(
    type=SupervisedFinetune,
    llm=dict(
        type=AutoModelForCausalLM.from_pretrained,
        pretrained_model_name_or_path='/models/base',
        trust_remote_code=False,
        torch_dtype=torch.float32,
        quantization_config=dict(
            type=BitsAndBytesConfig,
            load_in_4bit=True,
            bnb_4bit_compute_dtype=torch.float32,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_quant_type='nf4',
        ),
        # None is transformers' choice: sdpa where the model has it, else eager.
        attn_implementation=None,
    ),
    use_activation_checkpointing=True,
    lora=dict(
        type=LoraConfig,
        r=64,
        lora_alpha=16,
        lora_dropout=0.1,
        use_rslora=False,
        use_dora=False,
        bias="none",
        task_type="CAUSAL_LM",
    ),
)

# Data
train_dataset = dict(type=load_from_disk, dataset_path='/project/.ftbridge/tokens/5195b8002236b3032c24a2bc')
train_dataloader = dict(
    batch_size=1,
    # Tokens are ready on disk; workers would be started anew for every epoch.
    num_workers=0,
    dataset=train_dataset,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=default_collate_fn),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    dataset=dict(type=load_from_disk, dataset_path='/project/.ftbridge/tokens/db39c022bc5ed9d8fa96f018'),
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=default_collate_fn),
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict()  # mmengine wants one; the loop computes the loss itself

# Optimiser and schedule, in iterations (micro batches)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(
        type=AdamW,
        lr=0.0002,
        weight_decay=0.0,
        betas=(0.9, 0.999),
    ),
    clip_grad=dict(max_norm=1.0, error_if_nonfinite=False),
    accumulative_counts=16,
)
# By optimiser steps, as transformers' Trainer has it; the last iteration of a step is the one that changes weights.
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-5, by_epoch=False, begin=15, end=64),
    dict(type=CosineAnnealingLR, eta_min=0.0, by_epoch=False, begin=63, end=1471),
]
train_cfg = dict(type=TokenMeanLoop, accumulation=16, max_iters=1449, val_interval=800)

# Runtime
custom_hooks = [
    dict(type=DatasetInfoHook, tokenizer=tokenizer),
    # Tells how far the training is, and saves where it is stopped.
    dict(type=StepHook, accumulation=16),
]
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, log_metric_by_epoch=False, interval=64),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=LastCheckpointHook, by_epoch=False, interval=304, max_keep_ckpts=2, save_best="val_loss", rule="less"),
    sampler_seed=dict(type=DistSamplerSeedHook),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="gloo"),
)
work_dir = '/project/runs/RUN/output'
visualizer = None
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=42, deterministic=False)
# The pattern is mmengine's own without val_loss, which is otherwise logged as the mean of the latest validations.
log_processor = dict(by_epoch=False, window_size=64, mean_pattern=r"^(?!.*val_loss).*(loss|time|data_time|grad_norm)")
