"""The plan of a merge: the tensors of the new model, their files, its config, what is copied and what is computed."""

import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import natural_size
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import gettext as _
from ftbridge.weights.merging.lora import Change, changes
from ftbridge.weights.merging.stream import Copy
from ftbridge.weights.model_files.config import refuse_quantised
from ftbridge.weights.tensors import index, safetensors
from ftbridge.weights.tensors.tensor import SIZES

_OUTPUT_LAYER = "lm_head.weight"
_EMBEDDING = re.compile(r"(.*\.)?(embed_tokens|wte|word_embeddings|embed_in)\.weight")


class MergePlan:
    """A base with adapters merged into it, known from headers alone: `config`, and `total`, the bytes of its weights.

    An output layer that shares the embedding's tensor gets one of its own where an adapter changes either: PEFT's
    merge would change both, and the merged model answer as the adapter never did.
    """

    def __init__(self, base: Path, adapters: Sequence[tuple[Path, float]]) -> None:
        """Look into base and adapters; raises InputError where they are not whole, or do not fit."""
        self.config = read_json(base / "config.json")
        refuse_quantised(base, self.config, adapters[0][0])
        self.tensors = index.model_tensors(base)
        embedding = next(filter(_EMBEDDING.fullmatch, self.tensors), "")
        self.output = (
            f"language_model.{_OUTPUT_LAYER}" if embedding.startswith("language_model.model.") else _OUTPUT_LAYER
        )
        if embedding:
            self._merge_embedding(embedding, adapters)
        else:
            self.changes = changes(self.tensors, adapters)
        self.sizes = {name: tensor.size for name, tensor in self.tensors.items()}
        self.sizes |= {name: math.prod(each.shape) * SIZES[each.dtype] for name, each in self.changes.items()}
        self.total = sum(self.sizes.values())

    def _merge_embedding(self, embedding: str, adapters: Sequence[tuple[Path, float]]) -> None:
        """Find the changes of a base that has an embedding, and keep its output layer and its vocabulary right."""
        is_tied = bool(self._config_value("tie_word_embeddings", True))  # transformers' default
        untied = {**self.tensors, self.output: self.tensors[embedding]} if is_tied else self.tensors
        self.changes = changes(untied, adapters)
        before = untied[embedding].shape
        after = self.changes[embedding].shape if embedding in self.changes else before
        if is_tied and (self.output in self.changes or (embedding in self.changes and after == before)):
            self.tensors = untied
            self._set_config_value("tie_word_embeddings", False)
            is_tied = False
        if after == before:
            return
        self._set_config_value("vocab_size", after[0])
        output = self.changes.get(self.output) or self.tensors.get(self.output)
        if output and not is_tied and output.shape[0] != after[0]:
            raise InputError(
                _("`{embedding}` was resized to {after} rows, and `{output}` has {shape}").format(
                    embedding=embedding, after=after[0], output=self.output, shape=output.shape[0]
                )
            )

    def _config_value(self, key: str, default: Any) -> Any:
        """Return a value of config.json, or of its text_config."""
        text = self.config.get("text_config")
        return self.config.get(key, text.get(key, default) if isinstance(text, dict) else default)

    def _set_config_value(self, key: str, value: Any) -> None:
        """Set a value of config.json, and of its text_config."""
        text = self.config.get("text_config")
        if isinstance(text, dict):
            self.config = {**self.config, "text_config": {**text, key: value}}
        if not isinstance(text, dict) or key in self.config or key == "tie_word_embeddings":
            self.config = {**self.config, key: value}

    def lay_out(self, folder: Path, most: int) -> tuple[list[Copy], list[dict[str, Any]]]:
        """Make the files in `folder`, of at most so many bytes of tensors each; return what to copy and to compute.

        Raises SetupError where the disk has no room for them.
        """
        if self.total > (free := shutil.disk_usage(folder).free):
            raise SetupError(
                _(
                    "the merged model takes {total}, and `{parent}` has {free} free; free some space, or "
                    "choose another disk with `--out`"
                ).format(total=natural_size(self.total), parent=folder.parent.parent, free=natural_size(free))
            )
        copies: list[Copy] = []
        computed: list[dict[str, Any]] = []
        files = safetensors.shards(self.sizes, most)
        for title, names in files.items():
            file = folder / title
            kinds = {name: self.changes.get(name) or self.tensors[name] for name in names}
            header = safetensors.header(
                (name, kind.dtype, kind.shape, self.sizes[name]) for name, kind in kinds.items()
            )
            at = len(header)
            for name, kind in kinds.items():
                if isinstance(kind, Change):
                    linear = name != self.output and any(step.a and not step.transposed for step in kind.steps)
                    place = {"name": name, "file": str(file), "offset": at, "linear": linear}
                    computed.append(place | msgspec.to_builtins(kind, enc_hook=str))
                else:
                    copies.append(Copy(str(kind.place.file), kind.place.start, str(file), at, kind.size))
                at += self.sizes[name]
            with file.open("wb") as content:
                content.write(header)
                content.truncate(at)
        safetensors.write_index(folder, files, self.total)
        return copies, computed
