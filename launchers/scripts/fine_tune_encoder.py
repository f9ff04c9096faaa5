"""Fine-tune an encoder on texts with labels, then say which label other texts have.

Runs inside the training environment: `python fine_tune_encoder.py SPEC` with SPEC as JSON: `model` (a folder), `device`
(cuda or cpu), `seed`, `epochs`, `learning_rate`. Then one JSON object a line on stdin: {"text": ..., "label": ...} for
each sample, {"fit": true}, and {"questions": [texts]} as often as is wanted. On stdout {"steps": n} once the model is
loaded and {"step": n} after each step; then {"labels": [labels]} for each line of questions. {"error": reason} comes
instead of any of them where the model cannot be used.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from tokenizer_loading import load_tokenizer
from torch import nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    get_linear_schedule_with_warmup,
)

BATCH, BATCH_OF_QUESTIONS = 16, 64
LONGEST = 512  # tokens of a text
WARM_UP, WEIGHT_DECAY, LARGEST_GRADIENT = 0.1, 0.01, 1.0

MAPPINGS = (MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
# What is raised for a folder that holds no encoder which can be used.
UNFIT = (OSError, SafetensorError, ValueError)

Sample = tuple[str, str]
Write = Callable[[dict[str, Any]], None]


class Classifier:
    """An encoder with a layer on top that tells the labels apart."""

    def __init__(self, spec: dict[str, Any], labels: list[str]) -> None:
        """Load the model; raises UNFIT where that cannot be."""
        if spec["device"] == "cuda" and not torch.cuda.is_available():
            sys.exit("No CUDA GPUs are available: torch sees none of the cards that it was given")
        self.labels, self.device = labels, spec["device"]
        transformers.set_seed(spec["seed"])
        self.tokenizer, model = load_encoder(spec["model"], len(labels))
        self.model = model.to(self.device)
        self.longest = min(LONGEST, self.tokenizer.model_max_length, *positions_of(model))

    def fit(self, samples: list[Sample], spec: dict[str, Any]) -> Iterator[dict[str, int]]:
        """Train on the samples, and yield how many steps it takes, then each step that is done."""
        order = torch.Generator().manual_seed(spec["seed"])
        numbers = {label: number for number, label in enumerate(self.labels)}
        steps = spec["epochs"] * -(-len(samples) // BATCH)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=spec["learning_rate"], weight_decay=WEIGHT_DECAY)
        schedule = get_linear_schedule_with_warmup(optimizer, int(WARM_UP * steps), steps)
        yield {"steps": steps}
        self.model.train()
        for _ in range(spec["epochs"]):
            for places in torch.randperm(len(samples), generator=order).split(BATCH):
                texts, labels = zip(*(samples[place] for place in places.tolist()), strict=True)
                wanted = torch.tensor([numbers[label] for label in labels], device=self.device)
                nn.functional.cross_entropy(self.model(**self.encode(texts)).logits, wanted).backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                yield {"step": schedule.last_epoch}

    def read(self, texts: list[str]) -> list[str]:
        """Return the label of each text."""
        self.model.eval()
        found = [""] * len(texts)
        by_length = torch.tensor([len(text) for text in texts]).argsort()
        for places in by_length.split(BATCH_OF_QUESTIONS):
            with torch.inference_mode():
                logits = self.model(**self.encode([texts[place] for place in places.tolist()])).logits
            for place, number in zip(places.tolist(), logits.argmax(-1).tolist(), strict=True):
                found[place] = self.labels[number]
        return found

    def encode(self, texts: Any) -> Any:
        """Return the tokens of texts, cut to what the model takes."""
        options = {"truncation": True, "max_length": self.longest, "padding": True, "return_tensors": "pt"}
        return self.tokenizer(list(texts), **options).to(self.device)


def load_encoder(folder: str, classes: int) -> tuple[Any, Any]:
    """Return tokenizer and model for so many classes, without code of the folder's own; raises UNFIT."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, num_labels=classes)
    # A causal model could tell classes apart, too, but each of its words sees those before it alone.
    if not all(type(config) in mapping for mapping in MAPPINGS):
        raise ValueError(f"it is a {config.model_type} model, and no encoder such as BERT or RoBERTa")
    tokenizer = load_tokenizer(folder, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    if (
        tokenizer.pad_token is None
        or max(tokenizer.get_vocab().values()) >= model.get_input_embeddings().num_embeddings
    ):
        raise ValueError("its tokenizer has no token to pad with, or tokens that the model lacks")
    return tokenizer, model


def positions_of(model: Any) -> Iterator[int]:
    """Yield how many tokens the model has positions for; RoBERTa's begin behind that of the padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            yield module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    if limit := getattr(model.config, "max_position_embeddings", None):
        yield limit


def answer_requests(spec: dict[str, Any], requests: Iterable[dict[str, Any]], write: Write) -> None:
    """Do what the requests ask, one after the other; raises UNFIT where the model is none."""
    samples: list[Sample] = []
    classifier: Classifier | None = None
    for request in requests:
        if "text" in request:
            samples.append((request["text"], request["label"]))
        elif "fit" in request:
            classifier = Classifier(spec, sorted({label for _, label in samples}))
            for record in classifier.fit(samples, spec):
                write(record)
        elif classifier:
            write({"labels": classifier.read(request["questions"])})


def main() -> None:
    """Answer until stdin ends; libraries that print do so on stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)

    def write(record: dict[str, Any]) -> None:
        stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()

    requests = map(json.loads, sys.stdin.buffer)
    try:
        answer_requests(json.loads(sys.argv[1]), requests, write)
    except UNFIT as error:
        write({"error": next(iter(str(error).splitlines()), "") or type(error).__name__})


if __name__ == "__main__":
    main()
