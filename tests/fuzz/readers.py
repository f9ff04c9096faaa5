"""What is changed: each file of the project in seeds.py that a command reads, and the commands that read it."""

from dataclasses import dataclass

CPU = ["--device", "cpu"]
CONVERT = ["convert", "FILE", "--name", "new", "--on-error", "skip"]
READS = [["inspect", "FILE"], CONVERT, [*CONVERT, "--dry-run"]]
TRAIN = ["train", "--model", "base", "--dataset", "faq", "--tokens", "native", "--dry-run", *CPU]
XTUNER, LLAMAFACTORY = [*TRAIN, "--backend", "xtuner"], [*TRAIN, "--backend", "llamafactory"]
MERGE = ["merge", "adapter", "--model", "base", "--out", "merged", *CPU]
CHAT = ["chat", "adapter", "--prompt", "hi", *CPU]
EXPORT = ["export", "runs/one/output/iter_1.pth", "--model", "base", "--out", "exported"]
ONTO = ["chat", "base", "--prompt", "hi", *CPU]
MODEL = [XTUNER, LLAMAFACTORY, [*XTUNER, "--method", "full"], MERGE, ONTO, CHAT, EXPORT]
RUNS = [
    *(["runs", "list"], ["runs", "list", "--json"], ["runs", "show", "one"], ["runs", "compare", "one", "two"]),
    *(["runs", "prune", "--keep", "1", "--yes"], ["export", "one"], ["merge", "one"]),
    *(["chat", "one", "--prompt", "hi", *CPU], ["train", "--resume", "one", "--dry-run"]),
]
DATASETS = [
    *(["datasets", "list"], ["datasets", "list", "--json"], ["datasets", "check"], ["datasets", "show", "faq"]),
    *(
        ["datasets", "show", "other"],
        ["datasets", "remove", "faq", "--yes"],
        ["convert", "sources/faq.csv", "--name", "faq"],
    ),
    ["convert", "sources/faq.csv", "--name", "faq", "--replace", "--split", "3:2"],
    *(XTUNER, [*XTUNER, "--dataset", "other"]),
]


@dataclass
class Reader:
    """A file that is changed: where it is in the project, of which kind (see mutations.py), and who reads it."""

    file: str
    kind: str
    commands: list


def _reading(source, commands=READS):
    return [[source if word == "FILE" else word for word in command] for command in commands]


READERS = {
    "safetensors": Reader("base/model-00001-of-00001.safetensors", "safetensors", MODEL),
    "adapter safetensors": Reader("adapter/adapter_model.safetensors", "safetensors", [MERGE]),
    "adapter config": Reader("adapter/adapter_config.json", "json", [MERGE, CHAT]),
    "card": Reader("adapter/ftbridge.json", "json", [MERGE, CHAT]),
    "weights index": Reader("base/model.safetensors.index.json", "json", MODEL),
    "model config": Reader("base/config.json", "json", MODEL),
    "tokenizer": Reader("base/tokenizer.json", "json", MODEL),
    "tokenizer config": Reader("base/tokenizer_config.json", "json", MODEL),
    "added tokens": Reader("base/added_tokens.json", "json", [MERGE, XTUNER, EXPORT]),
    "generation config": Reader("base/generation_config.json", "json", [EXPORT, MERGE]),
    "chat template": Reader("base/chat_template.jinja", "bytes", [XTUNER, MERGE, ONTO]),
    "checkpoint": Reader("runs/one/output/iter_1.pth", "zip", [["export", "one", "--model", "base"], EXPORT]),
    "adapter bin": Reader("old/adapter_model.bin", "zip", [["merge", "old", *MERGE[2:]]]),
    "run": Reader("runs/one/run.json", "json", RUNS),
    "metrics": Reader("runs/one/metrics.jsonl", "lines", [["runs", "show", "one"], ["runs", "plot", "one"]]),
    "settings": Reader("ftbridge.yaml", "yaml", [["datasets", "list"], ["runs", "list"], XTUNER]),
    "state": Reader(".ftbridge/state.json", "json", [["datasets", "list"], ["datasets", "check"]]),
    "registry": Reader("data/dataset_info.json", "json", DATASETS),
    "samples": Reader(
        "data/faq-train.xtuner.jsonl", "lines", [["datasets", "check"], ["datasets", "show", "faq"], XTUNER]
    ),
    "label map": Reader(
        "labels.yaml", "yaml", _reading("sources/faq.csv", [[*READS[1], "--label-map", "labels.yaml"]])
    ),
    "deepspeed": Reader("ds.json", "json", [[*LLAMAFACTORY, "--deepspeed", "ds.json"]]),
    "dataset card": Reader("repository/README.md", "markdown", _reading("repository")),
    "saved state": Reader("saved/state.json", "json", _reading("saved")),
    "saved features": Reader("saved/dataset_info.json", "json", _reading("saved")),
    "saved rows": Reader("saved/data-00000-of-00001.arrow", "bytes", _reading("saved")),
}
for _name, _kind in {
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "jsonl": "lines",
    "csv.gz": "gzip",
    "jsonl.zst": "zstd",
    "xlsx": "zip",
    "xlsm": "zip",
    "xls": "bytes",
    "xlsb": "zip",
    "ods": "zip",
    "parquet": "bytes",
    "arrow": "bytes",
}.items():
    _more = (
        [["inspect", "FILE", "--as-shown"], ["inspect", "FILE", "--fill-merged"]] if _name in {"xlsx", "xlsm"} else []
    )
    READERS[_name] = Reader(f"sources/faq.{_name}", _kind, _reading(f"sources/faq.{_name}", [*READS, *_more]))
