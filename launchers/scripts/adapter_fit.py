"""Put a PEFT adapter on a model, and make sure that all of it found its place there.

PEFT loads what it can and says no more than a warning: a model without a part of its adapter answers as the bare base.
"""

import re
from pathlib import Path
from typing import Any

from mends import allow_llama4_without_images, take_targets_of

# Not stored with an adapter, though PEFT (peft_model.py, from_pretrained) may count them as missing.
_NOT_STORED = ("vblora_vector_bank", "prompt_encoder", ".tinylora_v.", ".unilora_theta_d.")
_MISMATCH = re.compile(r"size mismatch for (\S+): .*? shape torch\.Size\((.*?)\) .*? torch\.Size\((.*?)\)")


class MisfitError(Exception):
    """The adapter does not fit the model; says what is wrong. One that is not `whole` lacks tensors, and no more."""

    def __init__(self, message: str, *, whole: bool = True) -> None:
        """Keep both."""
        super().__init__(message)
        self.whole = whole


def load_adapter_onto(model: Any, adapter: str, name: str = "default", **options: Any) -> Any:
    """Return a PeftModel: `model` with the adapter of a folder as `name`, loaded with PEFT's `options`.

    A PeftModel keeps the adapters that it has. Raises MisfitError where not all of this one has its place in the model.
    """
    from peft import PeftModel

    allow_llama4_without_images()
    take_targets_of(Path(adapter))
    results: list[Any] = []
    load_adapter = PeftModel.load_adapter

    def load_and_keep(*arguments: Any, **more: Any) -> Any:
        results.append(load_adapter(*arguments, **more))
        return results[-1]

    PeftModel.load_adapter = load_and_keep  # from_pretrained does not hand on what it returns
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(adapter, name, **options)
            loaded = model
        else:
            loaded = PeftModel.from_pretrained(model, adapter, name, **options)
    except RuntimeError as error:
        if match := _MISMATCH.search(str(error)):
            name, shape, wanted = match.groups()
            raise MisfitError(f"its `{name}` has the shape {shape}, and the model's {wanted}") from error
        raise
    finally:
        PeftModel.load_adapter = load_adapter
    is_lora = loaded.peft_config[name].peft_type == "LORA"
    for result in results:
        # Those of prompts are set another way, and count as unexpected.
        if is_lora and (unexpected := result.unexpected_keys):
            raise MisfitError(f"the model has no place for {len(unexpected)} of its tensors, e.g. `{unexpected[0]}`")
        if missing := [key for key in result.missing_keys if not any(name in key for name in _NOT_STORED)]:
            raise MisfitError(
                f"it lacks {len(missing)} {'tensor' if len(missing) == 1 else 'tensors'}, e.g. `{missing[0]}`",
                whole=False,
            )
    return loaded
