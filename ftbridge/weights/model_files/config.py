"""What stands beside a model's weights: config, tokenizer, chat template, and where generation stops."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import write_json
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import gettext as _
from ftbridge.weights.model_files.tokenizer import copy_files, copy_tokenizer, token_ids
from ftbridge.weights.model_files.transformers4 import config_for_both

_QUANTISED = re.compile(r"[-_.](gptq|awq|bnb|int[48]|4bit|8bit|fp8|nf4|quantized)\b.*", re.IGNORECASE)


def write_files(folder: Path, base: Path, adapter: Path, config: dict[str, Any], stop: Iterable[str]) -> None:
    """Write all but the weights: the adapter's tokenizer, the base's other files, and `config` as config.json.

    `generation_config.json` stops at the tokens `stop` and where the base's own does.
    """
    copy_tokenizer(adapter, base, folder)
    # The base's index is of the base's shards.
    settings = (file.name for file in base.glob("*.json") if not file.name.endswith(".index.json"))
    copy_files(base, folder, (*settings, "*.py", "*.jinja"), overwrite=False)
    config = config_for_both(config)
    if config != read_json(folder / "config.json"):
        write_json(folder / "config.json", config)
    write_generation(folder, stop)


def write_generation(folder: Path, stop: Iterable[str]) -> None:
    """Have a model's folder say how it generates: with a cache, up to the tokens `stop`, and to those that end it now.

    The first of `stop` that the tokenizer has is the end token of config.json, too, which some servers read alone.
    """
    config = _with_cache(was := read_json(folder / "config.json"))
    file = folder / "generation_config.json"
    generation = read_json(file) if file.is_file() else {
        key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(key) is not None
    }  # fmt: skip
    known, own = token_ids(folder), _as_list(generation.get("eos_token_id"))
    trained = [known[token] for token in stop if token in known]
    ends = list(dict.fromkeys([*trained, *(token for token in own if isinstance(token, int))]))
    if ends:
        generation["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    write_json(file, _with_cache(generation))
    named = config.get("eos_token_id")
    if trained and named is not None and trained[0] not in _as_list(named):
        config["eos_token_id"] = ends if isinstance(named, list) else ends[0]
    if config != was:
        write_json(folder / "config.json", config)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _with_cache(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config, and those within it, without what a training has switched off: the cache of a generation."""
    inner = {key: _with_cache(value) for key, value in config.items() if isinstance(value, dict)}
    return {**config, **inner, **({"use_cache": True} if config.get("use_cache") is False else {})}


def refuse_quantised(base: Path, config: dict[str, Any], adapter: Path) -> None:
    """Raise InputError where the weights are quantised, naming the model that they were made from, if it is known."""
    if not config.get("quantization_config"):
        return
    title = base.parent.parent.name if base.parent.name == "snapshots" else base.name
    file = adapter / "adapter_config.json"
    named = str(read_json(file).get("base_model_name_or_path") or "") if file.is_file() else ""
    likely = _QUANTISED.sub("", title).removeprefix("models--").replace("--", "/")
    if named and not _QUANTISED.search(named) and Path(named).name != base.name:
        likely = named
    hint = _(", likely `{likely}`").format(likely=likely) if likely and likely != title else ""
    raise InputError(
        _("`{base}` is quantised; give the model that it was made from{hint} with `--model`").format(
            base=base, hint=hint
        )
    )
