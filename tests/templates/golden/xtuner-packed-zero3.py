# XTuner config written by ftbridge for the run 'RUN'.
# To train again: ftbridge train --backend xtuner (all options stand in run.json beside this file).
import torch
from datasets import load_dataset
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.optim import AmpOptimWrapper, CosineAnnealingLR, LinearLR, OptimWrapper
from peft import LoraConfig
from transformers import Adafactor, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
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
            bnb_4bit_use_double_quant=False,
            bnb_4bit_quant_type='fp4',
            bnb_4bit_quant_storage=torch.bfloat16,  # what ZeRO-3 shares out
        ),
        # None is transformers' choice: sdpa where the model has it, else eager.
        attn_implementation='flash_attention_2',
    ),
    use_activation_checkpointing=False,
    lora=dict(
        type=LoraConfig,
        r=64,
        lora_alpha=16,
        lora_dropout=0.1,
        target_modules=['q_proj', 'v_proj'],
        use_rslora=True,
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
    template_map_fn=dict(type=template_map_fn_factory, template=PROMPT_TEMPLATE.qwen_chat),
    remove_unused_columns=True,
    shuffle_before_pack=True,
    pack_to_max_length=True,
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
        type=Adafactor,
        lr=0.0002,
        weight_decay=0.01,
        scale_parameter=False,
        relative_step=False,
    ),
    clip_grad=dict(max_norm=0.5, error_if_nonfinite=False),
    accumulative_counts=16,
)
# LinearLR is at its full rate in its last iteration, end - 1; with end=1 it would stay at the start factor for ever.
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-5, by_epoch=False, begin=0, end=17),
    # How many samples packing makes is known later, so the rate falls by epochs; both factors are multiplied.
    dict(type=CosineAnnealingLR, eta_min=0.0, by_epoch=True, begin=0, end=3, convert_to_iter_based=True),
]
train_cfg = dict(type=TrainLoop, max_epochs=3)

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
    checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=160, max_keep_ckpts=5),
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
