# XTuner config written by ftbridge for the run 'RUN'.
# To train again: ftbridge train --backend xtuner (all options stand in run.json beside this file).
import torch
from datasets import load_dataset
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.optim import AmpOptimWrapper, CosineAnnealingLR, LinearLR, OptimWrapper
from peft import LoraConfig
from torch.optim import AdamW
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from xtuner.dataset import process_hf_dataset
from xtuner.dataset.collate_fns import default_collate_fn
from xtuner.dataset.map_fns import template_map_fn_factory
from xtuner.engine.hooks import DatasetInfoHook
from xtuner.engine.runner import TrainLoop
from xtuner.model import SupervisedFinetune
from xtuner.utils import PROMPT_TEMPLATE
from xtuner_steps import StepHook

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
        torch_dtype=torch.bfloat16,
        quantization_config=dict(
            type=BitsAndBytesConfig,
            load_in_4bit=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
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
train_dataset = dict(
    type=process_hf_dataset,
    dataset=dict(type=load_dataset, path="json", data_files=dict(train='/project/data/medqa-train.xtuner.jsonl')),
    tokenizer=tokenizer,
    max_length=2048,
    dataset_map_fn=None,
    template_map_fn=dict(type=template_map_fn_factory, template={'SYSTEM': '<|im_start|>system\n{system}<|im_end|>\n', 'INSTRUCTION': '<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n', 'SUFFIX': '<|im_end|>', 'SUFFIX_AS_EOS': True, 'SEP': '\n', 'STOP_WORDS': ['<|im_end|>', '<|endoftext|>']}),
    remove_unused_columns=True,
    shuffle_before_pack=True,
    pack_to_max_length=False,
    map_num_proc=1,
)
train_dataloader = dict(
    batch_size=1,
    # Tokens are ready on disk; workers would be started anew for every epoch.
    num_workers=0,
    dataset=train_dataset,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=default_collate_fn),
)

# Optimiser and schedule, in iterations (micro batches)
optim_wrapper = dict(
    type=AmpOptimWrapper,
    loss_scale=1.0,
    dtype='bfloat16',
    optimizer=dict(
        type=AdamW,
        lr=0.0002,
        weight_decay=0.0,
        betas=(0.9, 0.999),
    ),
    clip_grad=dict(max_norm=1.0, error_if_nonfinite=False),
    accumulative_counts=16,
)
# LinearLR is at its full rate in its last iteration, end - 1; with end=1 it would stay at the start factor for ever.
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-5, by_epoch=False, begin=0, end=17),
    dict(type=CosineAnnealingLR, eta_min=0.0, by_epoch=False, begin=17, end=726),
]
train_cfg = dict(type=TrainLoop, max_iters=726)

# Runtime
custom_hooks = [
    dict(type=DatasetInfoHook, tokenizer=tokenizer),
    # Tells how far the training is, and saves where it is stopped.
    dict(type=StepHook, accumulation=16),
]
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, log_metric_by_epoch=False, interval=36),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=160, max_keep_ckpts=2),
    sampler_seed=dict(type=DistSamplerSeedHook),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
work_dir = '/project/runs/RUN/output'
visualizer = None
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=42, deterministic=False)
log_processor = dict(by_epoch=False, window_size=36)
