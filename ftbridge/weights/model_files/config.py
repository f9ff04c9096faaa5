"""What stands beside a model's weights: config, tokenizer, chat template, and where generation stops."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import write_json
from ftbridge.core.parsing.json_yaml import read_json
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
    write_stops(folder, config, stop)


def write_stops(folder: Path, config: dict[str, Any], stop: Iterable[str]) -> None:
    """Have the folder's `generation_config.json` stop at the tokens `stop` as well; `config` is its config.json."""
    file = folder / "generation_config.json"
    generation = read_json(file) if file.is_file() else {
        key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(key) is not None
    }  # fmt: skip
    known = token_ids(folder)
    own = generation.get("eos_token_id")
    own = [token for token in (own if isinstance(own, list) else [own]) if isinstance(token, int)]
    ends = list(dict.fromkeys([*(known[token] for token in stop if token in known), *own]))
    if ends:
        generation["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    write_json(file, generation)


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
    hint = f", likely `{likely}`" if likely and likely != title else ""
    raise InputError(f"`{base}` is quantised; give the model that it was made from{hint} with `--model`")
