"""A small project with a file of each kind that is read, and the commands that read it; all is made here."""

import gzip
import io
import json
import os
import struct
import zipfile
from dataclasses import dataclass, field

import zstandard

from ..launchers.made_environments import make_environment  # noqa: TID252
from ..weights.torch_files import floats, save, tensor  # noqa: TID252

QUESTIONS = ["What is aspirin for?", "阿司匹林？", "Why?", "How so?", "Who?"]
ROWS = [{"question": text, "answer": f"An answer to it, {number}.", "n": number} for number, text in enumerate(QUESTIONS)]
MESSAGES = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]} for text in "ab"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LAYER = "model.layers.0.self_attn.q_proj"
LORA = {f"base_model.model.{LAYER}.lora_A.weight": (2, 8), f"base_model.model.{LAYER}.lora_B.weight": (8, 2)}
SIZES = {"BF16": 2, "F32": 4}
CPU = ["--device", "cpu"]
READS = [["inspect", "FILE"], ["convert", "FILE", "--name", "new"], ["convert", "FILE", "--name", "new", "--dry-run"]]
MERGE = ["merge", "adapter", "--model", "base", "--out", "merged", *CPU]
DRY = ["train", "--model", "base", "--dataset", "faq", "--dry-run", "--no-check", *CPU]
CHECKED = [*DRY[:-3], *CPU, "--backend"]
MODEL = [
    *([*CHECKED, "xtuner", "--dry-run"], [*CHECKED, "llamafactory", "--dry-run"], [*CHECKED, "xtuner", "--method", "full", "--dry-run"]),
    *(MERGE, ["chat", "base", "--prompt", "hi", *CPU], ["chat", "adapter", "--prompt", "hi", *CPU]),
    ["export", "runs/one/output/iter_1.pth", "--model", "base", "--out", "exported"],
]


@dataclass
class Reader:
    """A file that is changed: where it is in the project, of which kind, its other contents, and who reads it."""

    file: str
    kind: str
    commands: list = field(default_factory=list)
    others: list = field(default_factory=list)

    def seeds(self, project):
        """Return its contents, the project's own first."""
        return [(project / self.file).read_bytes(), *self.others]


READERS = {
    "safetensors": Reader("base/model-00001-of-00001.safetensors", "safetensors", MODEL),
    "adapter safetensors": Reader("adapter/adapter_model.safetensors", "safetensors", [MERGE]),
    "adapter config": Reader("adapter/adapter_config.json", "json", [MERGE, ["chat", "adapter", "--prompt", "hi", *CPU]]),
    "card": Reader("adapter/ftbridge.json", "json", [MERGE, ["chat", "adapter", "--prompt", "hi", *CPU]]),
    "weights index": Reader("base/model.safetensors.index.json", "json", MODEL),
    "model config": Reader("base/config.json", "json", MODEL),
    "tokenizer": Reader("base/tokenizer.json", "json", MODEL),
    "tokenizer config": Reader("base/tokenizer_config.json", "json", MODEL),
    "added tokens": Reader("base/added_tokens.json", "json", MODEL),
    "generation config": Reader("base/generation_config.json", "json", [MERGE]),
    "chat template": Reader("base/chat_template.jinja", "bytes", MODEL[:1] + MODEL[3:]),
    "checkpoint": Reader("runs/one/output/iter_1.pth", "zip", [["export", "one", "--model", "base"], MODEL[-1]]),
    "adapter bin": Reader("old/adapter_model.bin", "zip", [["merge", "old", "--model", "base", "--out", "merged", *CPU]]),
    "run": Reader(
        "runs/one/run.json",
        "json",
        [["runs", "list"], ["runs", "show", "one"], ["export", "one"], ["merge", "one"], ["runs", "list", "--json"],
         ["runs", "compare", "one", "two"], ["runs", "prune", "--keep", "1", "--yes"], ["chat", "one", "--prompt", "hi", *CPU],
         ["train", "--resume", "one", "--dry-run"]],
    ),
    "metrics": Reader("runs/one/metrics.jsonl", "lines", [["runs", "show", "one"], ["runs", "plot", "one"]]),
    "settings": Reader(
        "ftbridge.yaml", "yaml", [["datasets", "list"], ["runs", "list"], ["preview", "faq", "--model", "base"], [*DRY, "--backend", "xtuner"]]
    ),
    "state": Reader(".ftbridge/state.json", "json", [["datasets", "list"], ["datasets", "check"], ["preview", "--model", "base"]]),
    "registry": Reader(
        "data/dataset_info.json",
        "json",
        [["datasets", "list"], ["datasets", "list", "--json"], ["datasets", "check"], ["datasets", "show", "faq"],
         ["datasets", "show", "other"], ["datasets", "remove", "faq"], ["convert", "sources/faq.csv", "--name", "faq"],
         ["convert", "sources/faq.csv", "--name", "faq", "--replace", "--split", "3:2"], [*DRY, "--backend", "xtuner"],
         ["train", "--model", "base", "--dataset", "other", "--dry-run", "--backend", "xtuner", *CPU]],
    ),
    "samples": Reader("data/faq-train.xtuner.jsonl", "lines", [["datasets", "check"], ["datasets", "show", "faq"], MODEL[0]]),
    "label map": Reader("labels.yaml", "yaml", [["convert", "sources/faq.csv", "--name", "new", "--label-map", "@labels.yaml"]]),
    "deepspeed": Reader("ds.json", "json", [[*CHECKED, "llamafactory", "--deepspeed", "ds.json", "--dry-run"]]),
    "dataset card": Reader("repository/README.md", "markdown", [[*each[:1], "repository", *each[2:]] for each in READS]),
    "saved state": Reader("saved/state.json", "json", [[*each[:1], "saved", *each[2:]] for each in READS]),
    "saved features": Reader("saved/dataset_info.json", "json", [[*each[:1], "saved", *each[2:]] for each in READS]),
    "saved rows": Reader("saved/data-00000-of-00001.arrow", "bytes", [[*each[:1], "saved", *each[2:]] for each in READS]),
    **{
        name: Reader(f"sources/faq.{name}", kind, [[f"sources/faq.{name}" if word == "FILE" else word for word in each] for each in READS])
        for name, kind in {
            "csv": "csv", "tsv": "csv", "json": "json", "jsonl": "lines", "csv.gz": "gzip", "jsonl.zst": "zstd",
            "xlsx": "zip", "xlsm": "zip", "xls": "bytes", "xlsb": "zip", "ods": "zip", "parquet": "bytes", "arrow": "bytes",
        }.items()
    },
}  # fmt: skip
for name in ("xlsx", "xlsm"):
    READERS[name].commands += [[*READERS[name].commands[0], "--as-shown"], [*READERS[name].commands[0], "--fill-merged"]]


def make(box):
    """Make the project in the folder `box`, beside a folder that no command may touch; returns the project."""
    project, python = box / "project", make_environment(box / "environment")
    python.write_text("#!/bin/sh\nexit 1\n")  # what is read is read before the frameworks come in
    (box / "outside").mkdir()
    (box / "outside" / "written").write_text("as it was")
    text = json.dumps({"epochs": 1, "lora_rank": 8, "backends": dict.fromkeys(("xtuner", "llamafactory"), {"python": str(python)})})
    put(project / "ftbridge.yaml", text)
    _model(project / "base")
    for name in ("adapter", "old"):
        put(project / name / "adapter_config.json", {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {"q_proj": 8},
            "rank_pattern": {}, "target_modules": ["q_proj"], "base_model_name_or_path": "base", "use_rslora": False})  # fmt: skip
    put(project / "adapter" / "adapter_model.safetensors", safetensors(LORA, "F32"))
    _card(project / "adapter" / "ftbridge.json", project / "base")
    held = {name: tensor(shape, key=str(key)) for key, (name, shape) in enumerate(LORA.items())}
    save(project / "old" / "adapter_model.bin", held, _0=floats(*range(16)), _1=floats(*range(16)))
    held = {f"llm.{name.replace('.weight', '.default.weight')}": each for name, each in held.items()}
    save(project / "runs" / "one" / "output" / "iter_1.pth", {"state_dict": held, "meta": {"cfg": "lora=dict(lora_alpha=8)"}},
         _0=floats(*range(16)), _1=floats(*range(16)))  # fmt: skip
    for name in ("one", "two"):
        _run(project / "runs" / name, project / "base")
    put(project / "labels.yaml", {"What is aspirin for?": "pain", "Why?": "because"})
    put(project / "ds.json", {"zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}, "train_batch_size": "auto"})
    _sources(project / "sources")
    features = [{"name": "question", "dtype": "string"}, {"name": "n", "dtype": {"class_label": {"names": {"0": "no"}}}}]
    card = {"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "*.csv"}]}],
            "dataset_info": {"features": features}}  # fmt: skip
    put(project / "repository" / "README.md", f"---\n{json.dumps(card)}\n---\n")
    put(project / "repository" / "faq.csv", (project / "sources" / "faq.csv").read_bytes())
    put(project / "saved" / "state.json", {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"})
    kept = {"question": {"dtype": "string", "_type": "Value"}, "n": {"names": ["a", "b"], "_type": "ClassLabel"}}
    put(project / "saved" / "dataset_info.json", {"features": kept, "description": ""})
    put(project / "saved" / "data-00000-of-00001.arrow", _arrow())
    return project


def put(path, content):
    """Write bytes, text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content if isinstance(content, (bytes, str)) else json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def safetensors(shapes, dtype):
    """Return a safetensors file of such tensors."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = SIZES[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(1, 256)) * (at // 255) + bytes(at % 255)


def _model(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bpe.train_from_iterator(["aspirin"], trainers.BpeTrainer(vocab_size=8, special_tokens=SPECIAL, show_progress=False))
    put(folder / "tokenizer.json", bpe.to_str())
    size = bpe.get_vocab_size()
    attention = {f"{LAYER[:-6]}{part}_proj.weight": (8, 8) for part in "qkvo"}
    mlp = {f"model.layers.0.mlp.{part}_proj.weight": (8, 8) for part in ("gate", "up", "down")}
    shapes = {"model.embed_tokens.weight": (size, 8), **attention, **mlp, "lm_head.weight": (size, 8)}
    put(folder / "model-00001-of-00001.safetensors", safetensors(shapes, "BF16"))
    index = dict.fromkeys(shapes, "model-00001-of-00001.safetensors")
    put(folder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": index})
    put(folder / "config.json", {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": size, "hidden_size": 8,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
        "tie_word_embeddings": False, "max_position_embeddings": 64, "torch_dtype": "bfloat16", "eos_token_id": 2,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "layer_types": ["full_attention"],
        "text_config": {"hidden_size": 8}, "moe_intermediate_size": 0, "num_experts_per_tok": 0, "sliding_window": None,
    })  # fmt: skip
    put(folder / "tokenizer_config.json", {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>"},
        "added_tokens_decoder": {str(at): {"content": token, "special": True} for at, token in enumerate(SPECIAL)},
        "extra_special_tokens": {}, "model_max_length": 64,
        "chat_template": [{"name": "default", "template": "{{ messages[0].content }}"}],
    })  # fmt: skip
    put(folder / "added_tokens.json", {token: at for at, token in enumerate(SPECIAL)})
    put(folder / "generation_config.json", {"eos_token_id": [2, 0], "pad_token_id": 0})
    put(folder / "chat_template.jinja", "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")  # fmt: skip


def _card(file, base):
    from ftbridge.templates import families
    from ftbridge.weights.sources import Card

    import msgspec

    family = families.load()["qwen2"]
    template = msgspec.to_builtins(family.cell("xtuner").prompt)
    card = Card(base=str(base), family="qwen2", backend="xtuner", template=template, system="S", thinking="none")
    put(file, msgspec.json.encode(card))


def _run(folder, base):
    spec = {"backend": "xtuner", "model": "base", "dataset": "faq", "lora_alpha": 32, "lora_targets": ["q_proj"]}
    attempt = {"started": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:05:05Z", "exit_code": 0}
    put(folder / "run.json", {
        "id": folder.name, "folder": str(folder), "status": "succeeded", "spec": spec, "model": str(base), "family": "qwen2",
        "launch": {"argv": ["python"], "env": {}, "cwd": "", "files": {}}, "system": "说中文", "samples": 5, "steps": 3,
        "versions": {"torch": "2.8.0"}, "environment": "transformers5", "datasets": {"faq.jsonl": "ab" * 32},
        "attempts": [attempt], "pid": os.getpid(), "pid_started": 1, "checkpoints": {"output/iter_1.pth": "ab" * 32},
    })  # fmt: skip
    record = {"step": 1, "attempt": 1, "loss": 1.5, "learning_rate": 1e-3, "epoch": 0.5, "time": 1.0, "validation_loss": 2}
    put(folder / "metrics.jsonl", "".join(json.dumps({**record, "step": step}) + "\n" for step in (1, 2, 3)))
    put(folder / "log.txt", "a line\n")


def _sources(folder):
    import pyarrow as pa
    from pyarrow import parquet

    table = "question,answer,n\n" + "".join(f'"{row["question"]}","{row["answer"]}",{row["n"]}\n' for row in ROWS)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    put(folder / "faq.csv", table)
    put(folder / "faq.tsv", table.replace('","', '"\t"').replace('",', '"\t').replace("question,answer,n", "question\tanswer\tn"))
    put(folder / "faq.json", {"data": MESSAGES})
    put(folder / "faq.jsonl", lines)
    put(folder / "faq.csv.gz", gzip.compress(table.encode()))
    put(folder / "faq.jsonl.zst", zstandard.ZstdCompressor().compress(lines.encode()))
    made = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([{**row, "list": [1], "at": {"a": None}} for row in ROWS]), made)
    put(folder / "faq.parquet", made.getvalue())
    put(folder / "faq.arrow", _arrow())
    _workbooks(folder)


def _arrow():
    import pyarrow as pa

    table = pa.Table.from_pylist(ROWS)
    made = io.BytesIO()
    with pa.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return made.getvalue()


def _workbooks(folder):
    import openpyxl
    import xlwt

    book = openpyxl.Workbook()
    sheet = book.active
    for row in ([*ROWS[0]], *([*row.values()] for row in ROWS)):
        sheet.append(row)
    sheet["B5"], sheet["C6"] = "=1+1", "#N/A"
    sheet["C6"].data_type = "e"
    sheet["D2"].number_format = "yyyy-mm-dd"
    sheet["D2"] = 45000.5
    sheet.merge_cells("A7:A8")
    sheet.row_dimensions[4].hidden = True
    book.create_sheet("Other").append(["a", "b"])
    for name in ("faq.xlsx", "faq.xlsm"):
        book.save(folder / name)
    old = xlwt.Workbook()
    sheet = old.add_sheet("Q")
    for number, row in enumerate(([*ROWS[0]], *([*row.values()] for row in ROWS))):
        for column, value in enumerate(row):
            sheet.write(number, column, value)
    sheet.write(6, 1, xlwt.Formula("1/0"))
    sheet.write_merge(7, 8, 0, 0, "merged")
    old.save(str(folder / "faq.xls"))
    put(folder / "faq.ods", _ods())
    put(folder / "faq.xlsb", _xlsb())


def _zip(**parts):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return made.getvalue()


def _ods():
    def cell(value):
        if isinstance(value, str):
            return f'<table:table-cell office:value-type="string"><text:p>{value}<text:tab/></text:p></table:table-cell>'
        return f'<table:table-cell office:value-type="float" office:value="{value}"/>'

    rows = ([*ROWS[0]], *([*row.values()] for row in ROWS))
    lines = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    hidden = '<table:table-row table:visibility="collapse" table:number-rows-repeated="2"><table:table-cell/></table:table-row>'
    spaces = "".join(f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text"))
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content{spaces}><office:body><office:spreadsheet>'
        f'<table:table table:name="Q">{lines}{hidden}</table:table></office:spreadsheet></office:body></office:document-content>'
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return _zip(**{"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": "<manifest/>"})


def _xlsb():
    """Return a workbook in Excel's binary format: records of a type, a length and their data."""

    def record(kind, data=b""):
        number = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
        length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
        return number + length + data

    def text(value):
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    sheet = record(0x81) + record(0x94, struct.pack("<4I", 0, len(ROWS), 0, 2)) + record(0x91)
    for number, row in enumerate(([*ROWS[0]], *([*row.values()] for row in ROWS))):
        sheet += record(0, struct.pack("<IIHHBBI", number, 0, 300, 0, 0, 0, 0))
        for column, value in enumerate(row):
            place = struct.pack("<II", column, 0)
            sheet += record(6, place + text(value)) if isinstance(value, str) else record(5, place + struct.pack("<d", value))
    sheet += record(0x92) + record(0x82)
    book = record(0x83) + record(0x99, bytes(8) + text("")) + record(0x8F)
    book += record(0x9C, struct.pack("<II", 0, 1) + text("rId1") + text("Q")) + record(0x90) + record(0x84)
    main = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    rels = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="{}" Target="{}"/></Relationships>'
    return _zip(**{
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": rels.format(f"{main}/officeDocument", "xl/workbook.bin"),
        "xl/workbook.bin": book,
        "xl/_rels/workbook.bin.rels": rels.format(f"{main}/worksheet", "worksheets/sheet1.bin"),
        "xl/worksheets/sheet1.bin": sheet,
    })  # fmt: skip
