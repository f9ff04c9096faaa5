"""Files laid out as public datasets are, with a few rows of our own; the real ones are no part of the project."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from openpyxl import Workbook

from ftbridge.dataset_info.presets import load_preset

MEDICINE = [
    [
        "may I take aspirin with milk",
        "aspirin",
        "Usage",
        "Yes; milk protects your stomach.",
        "Use",
        "https://example.org/a",
    ],
    ["how long does a plaster last", "plaster", "Usage", "Two days.", "Use", "https://example.org/b"],
    ["which pill is blue?", "", "Other", "Ask\nyour pharmacist.", "", ""],
]
PALACE = [("娘娘,下雨了。", "那便不去了。"), ("这茶如何?", "凉了些。")]
RIDDLES = [("为什么白天看不见星星?", "太阳太亮了。"), ("冰箱里的灯一直亮着吗?", "不是,门一关就灭。\n可以试试。")]
NEWS = [("队伍昨天赢了比赛。", ["Sports", "Space"], "Sports"), ("火箭今天升空。", ["Space", "Economy"], "Space")]
HOTELS = [("1", '房间很大,"早餐"也好'), ("0", "太吵"), ("0", ""), ("1", "服务周到")]
TWEETS = [("@shop thank you, all is well", "no complaint"), ("@shop my parcel is late again", "complaint")]
TABLE = [["number", "text", "boolean"], ["1", "a", "True"], ["2", "👍", "False"], ["", "b", ""]]
RECORDS = [{"number": 1.0, "text": "a"}, {"number": 2, "text": "👍"}, {"number": None, "text": "b"}]
# What begins with y is JSON, with n is none; what is neither is left to the reader.
JSON_CASES = {
    "i_number_huge": b"[123e4567]",
    "i_string_not_utf_8": b'["\xff"]',
    "n_array_unclosed": b'[{"a": 1}',
    "n_number_plus": b"[+1]",
    "n_object_comma": b'{"a": 1,}',
    "n_object_single_quotes": b"{'a': 1}",
    "n_string_newline": b'["a\nb"]',
    "y_array_numbers": b"[1, 2.5, null]",
    "y_object": b'{"a": "b", "c": [1, {}]}',
    "y_object_escapes": b'{"a\\u836f": "\\n\\/"}',
    "y_string": b'"a"',
}
QUOTED = {
    "comma_in_quotes": ('name,city\r\nAda,"Berlin, Mitte"\r\n', [{"name": "Ada", "city": "Berlin, Mitte"}]),
    "empty": ('a,b,c\n1,"",""\n2,3,4\n', [{"a": "1", "b": "", "c": ""}, {"a": "2", "b": "3", "c": "4"}]),
    "quotes_and_newlines": (
        'a,b\n1,"so \n""so"" \nso"\n3,4\n',
        [{"a": "1", "b": 'so \n"so" \nso'}, {"a": "3", "b": "4"}],
    ),
}


class PublicData(NamedTuple):
    """A folder of datasets: how many rows each has, and the one, counted from 1, that is looked at closely."""

    folder: Path
    rows: dict[str, int]
    row: dict[str, int]
    tweet: str
    ours: bool = False


def real(folder: Path) -> PublicData:
    """Return the real files of `folder`."""
    rows = {"medqa": 690, "ruozhiba": 240, "fudan_news": 640, "chnsenticorp": 7766, "raft": 50}
    tweet = "@HMRCcustomers No this is my first job"
    return PublicData(folder, rows, {"medqa": 213, "chnsenticorp": 6375}, tweet)


def write(folder: Path) -> PublicData:
    """Write our own datasets into `folder`."""
    _medicine(folder / "medqa")
    alpaca = [{"instruction": question, "input": "", "output": answer} for question, answer in PALACE]
    _put(folder / "huanhuan" / "huanhuan-100.json", json.dumps(alpaca, ensure_ascii=False, indent=4))
    more = {"task_type": {"major": ["问答"], "minor": ["逻辑问答"]}, "domain": ["通用"], "metadata": "暂无"}
    more |= {"answer_from": "llm", "human_verified": True, "copyright": "暂无"}
    raw = [{"instruction": question, "input": "", "output": answer, **more} for question, answer in RIDDLES]
    _put_lines(folder / "ruozhiba" / "ruozhiba_raw.jsonl", raw)
    _put_lines(folder / "ruozhiba" / "ruozhiba_format.jsonl", [{"messages": _messages(*pair)} for pair in RIDDLES])
    news = [{"text": text, "category": category, "output": output} for text, category, output in NEWS]
    _put_lines(folder / "fudan_news" / "text_category_output.jsonl", news)
    _put_lines(folder / "patents" / "source.jsonl", [{"text": "a lamp with a switch .", "label": 7}])
    lamp = {"input": "Classify the document:\na lamp with a switch .", "output": "Electricity"}
    _put(
        folder / "patents" / "expected_alpaca.json",
        json.dumps([{"instruction": load_preset("patents").instruction, **lamp}]),
    )
    _put_table(folder / "chnsenticorp" / "ChnSentiCorp_htl_all.csv", [["label", "review"], *HOTELS])
    tweets = [[*tweet, str(number)] for number, tweet in enumerate(TWEETS)]
    _put_table(folder / "raft" / "train.csv", [["Tweet text", "Label", "ID"], *tweets])
    _agate(folder / "messy_csv" / "agate")
    for name, (text, rows) in QUOTED.items():
        _put(folder / "messy_csv" / "csv-spectrum" / "csvs" / f"{name}.csv", text)
        _put(folder / "messy_csv" / "csv-spectrum" / "json" / f"{name}.json", json.dumps(rows))
    for name, content in JSON_CASES.items():
        _put(folder / "messy_json" / f"{name}.json", content)
    _workbooks(folder / "messy_xlsx" / "ours")
    _chat_templates(folder / "chat_templates")
    rows = {"medqa": 3, "ruozhiba": 2, "fudan_news": 2, "chnsenticorp": 4, "raft": 2}
    return PublicData(folder, rows, {"medqa": 2, "chnsenticorp": 3}, TWEETS[0][0], ours=True)


def _put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _put_lines(path: Path, rows: list[Any]) -> None:
    _put(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _put_table(path: Path, rows: list[Any], **dialect: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **dialect).writerows(rows)


def _put_workbook(path: Path, **sheets: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    book.close()


def _messages(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _medicine(folder: Path) -> None:
    headers = list(load_preset("medqa").sample)
    _put_workbook(folder / "MedQA2019.xlsx", DrugQA=[headers, *MEDICINE])
    turns = [{"system": load_preset("medqa").system, "input": row[0], "output": row[3]} for row in MEDICINE]
    _put(folder / "MedQA2019-structured.jsonl", json.dumps([{"conversation": [turn]} for turn in turns], indent=4))


def _agate(folder: Path) -> None:
    """Write tables in the ways that agate's own tests have."""
    newlines = {"test": "\n", "test_cr": "\r", "test_crlf": "\r\n"}
    for name, newline in newlines.items():
        _put_table(folder / f"{name}.csv", TABLE, lineterminator=newline)
    _put_table(folder / "test_csv_sniff.csv", TABLE, delimiter="|")
    _put_table(folder / "test_quote_nonnumeric.csv", TABLE, quoting=csv.QUOTE_NONNUMERIC)
    _put_table(folder / "test_no_header.csv", [*TABLE[1:3], ["", "", ""]])
    _put(folder / "test_latin1.csv", "a,b,c\n1,2,3\n4,5,©\n".encode("latin-1"))
    for name, codec in (("big", "utf-16-be"), ("little", "utf-16-le")):
        _put(folder / f"test_utf16_{name}.csv", "\ufeffa,b,c\n1,2,3\n4,5,ʤ\n".encode(codec))
    _put(folder / "empty.csv", "\n")
    contents = {
        "test": RECORDS,
        "test_from_json_ambiguous": [{"a/b": 2, "a": {"b": False}}],
        "test_key": {"data": RECORDS},
        "test_keyed": dict(zip("abc", RECORDS, strict=True)),
        "test_mixed": [{"one": 1}, {"one": 2, "four": "d"}, {"one": None, "two": 2}],
        "test_nested": [{"one": 1, "two": {"two_a": "a"}}, {"one": 2, "three": ["a", 2]}],
        "test_non_string_keyed": dict(zip("123", RECORDS, strict=True)),
        "test_tableset": {f"table{number}": RECORDS for number in (1, 2, 3)},
    }
    for name, content in contents.items():
        _put(folder / f"{name}.json", json.dumps(content, ensure_ascii=False, indent=4))
    _put_lines(folder / "test_newline.json", RECORDS)


def _workbooks(folder: Path) -> None:
    rows = [["question", "answer"], ["why?", "so"], ["how?", "thus"]]
    _put_workbook(folder / "one.xlsx", Q=rows)
    _put_workbook(folder / "several.xlsx", Q=rows, R=rows[:2])
    _put_workbook(folder / "no rows.xlsx", Q=[])
    _put(folder / "empty.xlsx", b"")
    _put(folder / "cut off.xlsx", (folder / "one.xlsx").read_bytes()[:900])
    with zipfile.ZipFile(folder / "archive.xlsx", "w") as archive:
        archive.writestr("a.csv", "a,b")


def _chat_templates(folder: Path) -> None:
    """Write templates that say by their tokens whose they are, and one of a family that is not ours."""
    tokens = {
        "qwen2_5": {"bos_token": "", "eos_token": "<|im_end|>"},
        "gemma": {"bos_token": "<bos>", "eos_token": "<eos>"},
        "phi3": {"bos_token": "<s>", "eos_token": "<|endoftext|>"},
    }
    _put(folder / "tokens.json", json.dumps(tokens))
    turns = "{% for message in messages %}BEGIN{{ message.role }}\n{{ message.content }}END\n{% endfor %}"
    marks = {"qwen2_5": ("<|im_start|>", "<|im_end|>"), "gemma": ("<start_of_turn>", "<end_of_turn>")}
    for name, (begin, end) in marks.items():
        _put(folder / f"{name}.jinja", turns.replace("BEGIN", begin).replace("END", end))
    qwen = "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.<|im_end|>\n<tool_call>' }}"
    _put(folder / "qwen2_5.jinja", qwen + (folder / "qwen2_5.jinja").read_text())
    _put(folder / "phi3.jinja", turns.replace("BEGIN", "<|").replace("END", "<|end|>"))
