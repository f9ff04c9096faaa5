"""What stands beside a model's weights: config, tokenizer, chat template, and where generation stops."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftbridge.core.errors import InputError
from ftbridge.core.files import write_json
from ftbridge.launchers.model_files import read_json
from ftbridge.weights.export import TOKENIZER, copy_files

_QUANTISED = re.compile(r"[-_.](gptq|awq|bnb|int[48]|4bit|8bit|fp8|nf4|quantized)\b.*", re.IGNORECASE)


def write_files(folder: Path, base: Path, adapter: Path, config: dict[str, Any], stop: Iterable[str]) -> None:
    """Write all but the weights: the base's files, over them the adapter's tokenizer, and `config` as config.json.

    `generation_config.json` stops at the tokens `stop` and where the base's own does.
    """
    # The base's index is of the base's shards.
    settings = (file.name for file in base.glob("*.json") if not file.name.endswith(".index.json"))
    copy_files(base, folder, (*settings, "*.py", "*.jinja", *TOKENIZER), overwrite=True)
    copy_files(adapter, folder, TOKENIZER, overwrite=True)
    if config != read_json(folder / "config.json"):
        write_json(folder / "config.json", config)
    file = folder / "generation_config.json"
    generation = read_json(file) if file.is_file() else {
        key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(key) is not None
    }  # fmt: skip
    known = token_ids(folder)
    own = generation.get("eos_token_id")
    own = own if isinstance(own, list) else [] if own is None else [own]
    ends = list(dict.fromkeys([*(known[token] for token in stop if token in known), *own]))
    if ends:
        generation["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    write_json(file, generation)


def token_ids(folder: Path) -> dict[str, int]:
    """Return the id of each token that the tokenizer's JSON files name."""
    try:
        return _token_ids(folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the tokenizer in `{folder}` is damaged: {type(error).__name__}: {error}") from error


def _token_ids(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in ("tokenizer.json", "added_tokens.json", "tokenizer_config.json"):
        content = read_json(folder / name) if (folder / name).is_file() else {}
        if name == "added_tokens.json":
            found |= {token: number for token, number in content.items() if isinstance(number, int)}
            continue
        vocabulary = (content.get("model") or {}).get("vocab")
        found |= vocabulary if isinstance(vocabulary, dict) else {}
        found |= {token["content"]: token["id"] for token in content.get("added_tokens") or []}
        decoder = content.get("added_tokens_decoder") or {}
        found |= {token["content"]: int(number) for number, token in decoder.items()}
    return found


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
