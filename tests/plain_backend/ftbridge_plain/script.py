"""What runs in the training environment, loaded by ftbridge's run_backend.py and encode_samples.py.

ftbridge itself is not there, but the modules beside those two are, such as lora_targets.py.
"""

import json
from pathlib import Path
from typing import Any

from lora_targets import targets_of_model
from token_ids import needed_token_id

IGNORED = -100


def prepare(spec: dict[str, Any]) -> None:
    """Make this process ready for a training: plain transformers need no mending."""


def train(arguments: list[str]) -> None:
    """Train, from the start or from a checkpoint."""
    from packed_collator import collate_packed
    from trainer_steps import stoppable
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

    config, tokenizer, data, model = _built(arguments)
    padded = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED)

    class Log(TrainerCallback):
        def on_log(self, _arguments: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            with Path(config["log"]).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    trainer = stoppable(Trainer)(  # it tells of its steps, and saves where it is stopped
        model=model,
        args=TrainingArguments(**config["training"]),
        train_dataset=data,
        data_collator=collate_packed if config.get("packed") else padded,
        callbacks=[Log()],
    )
    trainer.train(resume_from_checkpoint=config["resume"])


def build(arguments: list[str]) -> None:
    """Build tokenizer, dataset and model as `train` does."""
    _built(arguments)


def _built(arguments: list[str]) -> tuple[dict[str, Any], Any, Any, Any]:
    import yaml
    from datasets import load_from_disk
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config: dict[str, Any] = yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(config["model"], trust_remote_code=config["trust_remote_code"])
    data = load_from_disk(config["tokens"]) if config.get("tokens") else _encoded(config)
    attention = {} if config["attention"] == "auto" else {"attn_implementation": config["attention"]}
    model = AutoModelForCausalLM.from_pretrained(
        config["model"], dtype=config["dtype"], trust_remote_code=config["trust_remote_code"], **attention
    )
    model.enable_input_require_grads()  # which gradient checkpointing needs where the weights are frozen
    lora = config["lora"]
    lora["target_modules"] = lora["target_modules"] or targets_of_model(model)
    return config, tokenizer, data, get_peft_model(model, LoraConfig(**lora, task_type="CAUSAL_LM"))


def _encoded(config: dict[str, Any]) -> Any:
    """Return the rows of texts as tokens, where these are not ready."""
    from datasets import load_dataset

    encoder = Encoder(config)

    def encoded(row: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(("input_ids", "labels"), encoder.encode(row, config["cutoff_length"]), strict=True))

    rows = load_dataset(encoder.format, data_files=encoder.files, split="train")
    return rows.map(encoded, remove_columns=rows.column_names)


class Encoder:
    """Encodes samples as the training does; ftbridge's preview shows them."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Load the tokenizer; `spec` is that of encode_samples.py, or the config."""
        from transformers import AutoTokenizer

        self.format, self.files, self.prompt = "json", [spec["file"]], spec["prompt"]
        self.tokenizer = AutoTokenizer.from_pretrained(spec["model"], trust_remote_code=spec["trust_remote_code"])

    def encode(self, row: dict[str, Any], cutoff: int) -> tuple[list[int], list[int]]:
        """Return a sample's ids and labels, at most `cutoff` of them; families.yaml explains the prompt's keys."""
        prompt, pairs = self.prompt, list[tuple[int, int]]()

        def add(text: str, *, trained: bool) -> None:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
            pairs.extend((each, each if trained else IGNORED) for each in ids)

        for number, turn in enumerate(row["conversation"], 1):
            if number == 1 or not prompt["SUFFIX_AS_EOS"]:
                pairs.extend((needed_token_id(self.tokenizer, name), IGNORED) for name in prompt["BOS"])
            system = prompt["SYSTEM"].format(system=turn["system"]) if number == 1 and turn["system"] else ""
            add(system + prompt["INSTRUCTION"].format(input=turn["input"], round=number), trained=False)
            add(prompt["ANSWER"].format(output=turn["output"]) + prompt["SUFFIX"], trained=True)
            if prompt["EOS"]:
                pairs.append((needed_token_id(self.tokenizer, prompt["EOS"]),) * 2)
            add(prompt["SEP"], trained=False)
        return [each for each, _ in pairs[:cutoff]], [label for _, label in pairs[:cutoff]]
