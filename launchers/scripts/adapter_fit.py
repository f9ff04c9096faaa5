"""Put a PEFT adapter on a model, and make sure that all of it found its place there.

PEFT loads what it can and says no more than a warning: a model without a part of its adapter answers as the bare base.
"""

import re
from pathlib import Path
from typing import Any

from mends import let_llama4_see_nothing, take_targets_of

# Not stored with an adapter, though PEFT (peft_model.py, from_pretrained) may count them as missing.
_SHARED = ("vblora_vector_bank", "prompt_encoder", ".tinylora_v.", ".unilora_theta_d.")
_MISMATCH = re.compile(r"size mismatch for (\S+): .*? shape torch\.Size\((.*?)\) .*? torch\.Size\((.*?)\)")


class MisfitError(Exception):
    """The adapter does not fit the model; says what is wrong. One that is not `whole` lacks tensors, and no more."""

    def __init__(self, words: str, *, whole: bool = True) -> None:
        """Keep both."""
        super().__init__(words)
        self.whole = whole


def put_on(model: Any, adapter: str, **place: Any) -> Any:
    """Return `model` with the adapter of a folder on it; raises MisfitError where PEFT finds no place for all of it."""
    from peft import PeftModel

    let_llama4_see_nothing()
    take_targets_of(Path(adapter))
    results: list[Any] = []
    load_adapter = PeftModel.load_adapter

    def load_and_keep(*arguments: Any, **options: Any) -> Any:
        results.append(load_adapter(*arguments, **options))
        return results[-1]

    PeftModel.load_adapter = load_and_keep  # from_pretrained does not hand on what it returns
    try:
        loaded = PeftModel.from_pretrained(model, adapter, **place)
    except RuntimeError as error:
        if found := _MISMATCH.search(str(error)):
            name, own, wanted = found.groups()
            raise MisfitError(f"its `{name}` has the shape {own}, and the model's {wanted}") from error
        raise
    finally:
        PeftModel.load_adapter = load_adapter
    is_lora = loaded.active_peft_config.peft_type == "LORA"
    for result in results:
        # Those of prompts are set another way, and count as unexpected.
        if is_lora and (unexpected := result.unexpected_keys):
            raise MisfitError(f"the model has no place for {len(unexpected)} of its tensors, e.g. `{unexpected[0]}`")
        if missing := [key for key in result.missing_keys if not any(name in key for name in _SHARED)]:
            raise MisfitError(f"it lacks {len(missing)} tensors, e.g. `{missing[0]}`", whole=False)
    return loaded
