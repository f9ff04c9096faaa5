"""What has to be mended in the frameworks before they train here, in this process only.

Both frameworks are older than the transformers of this year, and XTuner expects a GPU. Each function says what it
mends, and where the fault stands; none changes a file.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from token_ids import needed_token_id


def mend(spec: dict[str, Any]) -> None:
    """Prepare this process for the training that `spec` (of run_backend.py) describes, whichever framework it is."""
    if spec["device"] == "cpu":
        allow_cpu()
        keep_weights_unpacked()
    else:
        demand_gpu()
        if spec["deepspeed"]:
            ask_torch_for_free_memory()
    take_targets_as_written()


def allow_cpu() -> None:
    """Mend what stops XTuner, mmengine and DeepSpeed on a machine without a GPU."""
    import torch
    import torch.distributed

    # xtuner/model/sft.py asks the device module, which has no such function for the CPU.
    torch.cpu.is_bf16_supported = lambda *_, **__: True
    # mmengine's init_dist calls this in every multi-process run.
    torch.cuda.set_device = lambda *_, **__: None
    # DeepSpeed 0.19.4 waits for the last of several gathers alone, which says nothing of the others over gloo: ZeRO-3
    # then now and then trains on memory that is not filled yet, and the loss is nan (DeepSpeed pull request 8539).
    for name in ("all_gather", "all_gather_into_tensor"):
        setattr(torch.distributed, name, _waiting_until_done(getattr(torch.distributed, name)))


def _waiting_until_done(gather: Callable[..., Any]) -> Callable[..., Any]:
    """Return `gather` such that it comes back only when it is done."""

    def wait(*arguments: Any, **options: Any) -> Any:
        work = gather(*arguments, **options)
        if work is not None:
            work.wait()
        return work

    return wait


def keep_weights_unpacked() -> None:
    """Keep bitsandbytes from packing 4-bit weights when a model is evaluated on a CPU with AVX512-BF16.

    Linear4bit (nn/modules.py, 0.50.2) packs them in its first pass in eval mode, and they stay so: the training after a
    validation has no gradient through them, or dies. To unpack them, as saving does, rounds their scales.
    """
    try:
        from bitsandbytes.nn import modules
    except ImportError:  # an environment without quantisation
        return
    modules.has_avx512bf16 = lambda: False  # which each layer asks when it is made


def demand_gpu() -> None:
    """End where torch sees no GPU: a framework might train on the CPU, and nobody would know."""
    import torch

    if not torch.cuda.device_count():
        sys.exit("No CUDA GPUs are available: torch sees none of the cards that this training was given")


def ask_torch_for_free_memory() -> None:
    """Let DeepSpeed ask torch how much of a GPU is free: it reads CUDA_VISIBLE_DEVICES as numbers, to ask NVML itself.

    ZeRO-1 and 2 ask (deepspeed/accelerator/cuda_accelerator.py, 0.19.4), and would end where cards have uuids there.
    """
    import torch
    from deepspeed.accelerator.cuda_accelerator import CUDA_Accelerator

    def available_memory(_accelerator: Any, device_index: int | None = None) -> int:
        return int(torch.cuda.mem_get_info(device_index)[0])

    CUDA_Accelerator.available_memory = available_memory


def allow_newer_transformers() -> None:
    """Give XTuner what it imports from transformers (utils/handle_moe_load_and_save.py) and 5 no longer has."""
    import transformers.utils

    if not hasattr(transformers.utils, "is_safetensors_available"):
        transformers.utils.is_safetensors_available = lambda: True


def take_mistral3() -> None:
    """Let AutoModelForCausalLM, which XTuner's config names, load Mistral 3 as it does Gemma 3, for text alone."""
    from transformers import AutoModelForCausalLM, Mistral3Config, Mistral3ForConditionalGeneration

    AutoModelForCausalLM.register(Mistral3Config, Mistral3ForConditionalGeneration, exist_ok=True)


def take_targets_as_written() -> None:
    """Have PEFT adapt the layers that are named, and nothing else.

    With transformers 5, PEFT (utils/transformers_weight_conversion.py, since 0.19) takes `gate_proj` and its like for
    names of before, means all experts by them, and leaves out the dense and shared MLPs that really are so called.
    """
    try:
        from peft.utils import transformers_weight_conversion
    except ImportError:  # transformers 4, which has no such thing
        return
    transformers_weight_conversion._convert_peft_config_moe = lambda _config, _model: None  # noqa: SLF001


def take_targets_of(adapter: Path) -> None:
    """Have PEFT load an adapter on the layers that it names; one that was trained on experts is PEFT's to convert."""
    from safetensors import safe_open

    file = adapter / "adapter_model.safetensors"
    if file.is_file():
        with safe_open(file, "pt") as tensors:
            if not any(".experts." in name for name in tensors.keys()):  # noqa: SIM118 - it is no mapping
                take_targets_as_written()


def skip_pauses() -> None:
    """Leave out the two seconds that mmengine sleeps after each epoch, for the sake of worker processes.

    Our configs have none (num_workers=0); on a small dataset the pause is most of the training's time.
    """
    import types

    import mmengine.runner.loops

    mmengine.runner.loops.time = types.SimpleNamespace(sleep=lambda _seconds: None)


def keep_to_config() -> None:
    """Have XTuner build the model that the config says, with the attention that transformers gives it.

    Where flash-attn can be imported, xtuner/model/sft.py changes attention and dtype of the config, and
    xtuner/model/modules/dispatch puts a forward of its own in place, which needs a process group. Under ZeRO-3 the
    first sets a dtype of its own for a quantised model.
    """
    import xtuner.model.modules.dispatch
    from xtuner.model import SupervisedFinetune

    def unchanged(cfg: Any, *_: Any) -> Any:
        return cfg

    xtuner.model.modules.dispatch.dispatch_attn_forward = lambda _model: None
    SupervisedFinetune._prepare_for_flash_attn = staticmethod(unchanged)  # noqa: SLF001
    SupervisedFinetune._prepare_for_qlora_zero3 = staticmethod(unchanged)  # noqa: SLF001


def forbid_remote_code() -> None:
    """Override xtuner/model/sft.py, which asks for trust_remote_code=True whatever the config says."""
    import xtuner.model.sft
    from transformers import AutoConfig

    class LocalConfig(AutoConfig):
        @classmethod
        def from_pretrained(cls, *args: Any, **options: Any) -> Any:
            return AutoConfig.from_pretrained(*args, **{**options, "trust_remote_code": False})

    xtuner.model.sft.AutoConfig = LocalConfig


def give_bos_and_eos(bos: Sequence[str], eos: str) -> None:
    """Have XTuner begin a conversation with the tokens `bos` and end an answer with `eos`, as the family's prompt says.

    Its own rule (dataset/utils.py) goes by the name of the tokenizer's class, which another transformers calls
    otherwise. `eos` is only asked for where the prompt has one; raises ValueError for no such token.
    """
    import xtuner.dataset.utils

    def bos_and_eos(tokenizer: Any) -> tuple[list[int], list[int]]:
        return [needed_token_id(tokenizer, name) for name in bos], [needed_token_id(tokenizer, eos)] if eos else []

    xtuner.dataset.utils.get_bos_eos_token_ids = bos_and_eos


def find_layers_behind_partials() -> None:
    """Have LLaMA-Factory (model/model_utils/checkpointing.py) find the layer behind a function that is checkpointed.

    It asks a bound method for its layer; transformers hands over `partial(forward, layer)` since 5.24.
    """
    from llamafactory.model.model_utils import checkpointing

    of_layers = checkpointing.get_custom_gradient_checkpointing_func

    class Bound:
        """A call that still knows its layer."""

        def __init__(self, call: partial[Any]) -> None:
            self.call, self.__self__ = call, call.args[0]

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return self.call(*arguments, **options)

    def of_functions(function: Callable[..., Any]) -> Callable[..., Any]:
        checkpoint = of_layers(function)

        def call(forward: Any, *arguments: Any, **options: Any) -> Any:
            is_function = isinstance(forward, partial) and not hasattr(forward.func, "__self__")
            return checkpoint(Bound(forward) if is_function else forward, *arguments, **options)

        return call

    checkpointing.get_custom_gradient_checkpointing_func = of_functions


def leave_gpt_oss_its_attention() -> None:
    """Leave gpt-oss its eager attention: LLaMA-Factory (model/patcher.py) would download a kernel for it."""
    from llamafactory.model import patcher

    configure = patcher.configure_attn_implementation

    def configured(config: Any, model_args: Any) -> None:
        if getattr(config, "model_type", None) != "gpt_oss":
            configure(config, model_args)

    patcher.configure_attn_implementation = configured


def allow_llama4_without_images() -> None:
    """Let a whole Llama 4 answer: transformers 5.24 (modeling_llama4.py) asks its text model for image outputs.

    XTuner takes the text model alone.
    """
    from transformers.modeling_outputs import MoeCausalLMOutputWithPast

    if not hasattr(MoeCausalLMOutputWithPast, "image_outputs"):
        MoeCausalLMOutputWithPast.image_outputs = None


def load_in_float32() -> None:
    """Have LLaMA-Factory load a model in float32, which it has no option for: it takes the dtype of config.json.

    That is also the dtype in which quantised layers compute.
    """
    import torch
    from llamafactory.model import loader, patcher

    load_config = loader.load_config

    def in_float32(*arguments: Any, **options: Any) -> Any:
        config = load_config(*arguments, **options)
        config.torch_dtype = torch.float32
        return config

    loader.load_config = in_float32
    patcher.infer_optim_dtype = lambda **_: torch.float32
