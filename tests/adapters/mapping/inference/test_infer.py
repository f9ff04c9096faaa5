"""How tables are read."""

import csv
import json
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.mapping.inference.infer import MappingOptions, infer_mapping
from ftbridge.adapters.mapping.label_map import load_label_map
from ftbridge.adapters.sources.detection import open_path
from ftbridge.adapters.targets import xtuner
from ftbridge.adapters.values import BadValueError, decode_raw
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.records import Reading, Row, Where
from ftbridge.dataset_info.presets import Preset, load_preset

from ....builders.tables import GOOD, choose, samples, table, taken  # noqa: TID252

TEXT = st.text(max_size=8).filter(lambda text: text.strip() and "\0" not in text)
CLASSIFY = "你是一个文本分类领域的专家\uff0c请输出文本内容的正确类型"


def from_csv(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return table(*csv.DictReader(file))


def asked(record):
    return {field: record[field] for field in ("instruction", "input", "output")}


@pytest.mark.parametrize(
    ("record", "shape", "columns"),
    [
        (
            {"Question": "q", "Answer": "a", "id": 1},
            "question and answer",
            {"instruction": "Question", "output": "Answer"},
        ),
        ({"答案": "a", "问题": "q"}, "question and answer", {"instruction": "问题", "output": "答案"}),
        (
            {"question": "q", "context": "c", "answer": "a", "text": "q a", "label": 1},
            "question and answer",
            {"instruction": "question", "input": "context", "output": "answer"},
        ),
        ({"input": "q", "output": "a"}, "question and answer", {"instruction": "input", "output": "output"}),
        ({"input": "类型#上衣", "label": "上衣"}, "text and label", {"instruction": "input", "output": "label"}),
        (
            {"instruction": "q", "input": "", "output": "a", "history": [], "system": "s", "text": "### q\n### a"},
            "Alpaca",
            {
                "system": "system",
                "instruction": "instruction",
                "input": "input",
                "output": "output",
                "history": "history",
            },
        ),
        (
            {"prompt": "q", "completion": "a"},
            "prompt and completion",
            {"instruction": "prompt", "output": "completion"},
        ),
        *(
            (
                {"q": "q", "thinking switch": True, column: "c", "Response": "a"},
                "question and answer",
                {"instruction": "q", "thought": column, "output": "Response"},
            )
            for column in (
                "reasoning_content",
                "Complex_CoT",
                "deepseek-reasoning",
                "thinking",
                "思考过程",
                "思维链 CoT",
            )
        ),
        (
            {"question": "q", "history": [["p", "b"]], "thought": None, "answer": "a"},
            "question and answer",
            {"instruction": "question", "thought": "thought", "output": "answer", "history": "history"},
        ),
        (
            {"text": "t", "category": ["x", "y"], "output": "x"},
            "question and answer",
            {"instruction": "text", "output": "output"},
        ),
        ({"label": "1", "review": "r"}, "text and label", {"instruction": "review", "output": "label"}),
        (
            {"Tweet text": "t", "Label": "x", "ID": "0"},
            "text and label",
            {"instruction": "Tweet text", "output": "Label"},
        ),
        ({"sentence": "t", "label": True, "idx": 1}, "text and label", {"instruction": "sentence", "output": "label"}),
        (
            {"text": "t", "label": 0, "label_text": "neg"},
            "text and label",
            {"instruction": "text", "output": "label_text"},
        ),
        ({"messages": GOOD, "prompt": "q"}, "OpenAI messages", {"messages": "messages"}),
        ({"id": 1, "dialogue": GOOD, "system": "s"}, "OpenAI messages", {"messages": "dialogue", "system": "system"}),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "tools": ""},
            "ShareGPT conversations",
            {"messages": "conversations"},
        ),
        (
            {"conversation": [{"human": "q", "assistant": "a"}]},
            "turns of human/assistant",
            {"messages": "conversation"},
        ),
        (
            {"prompt": GOOD[:1], "completion": GOOD[1:]},
            "OpenAI messages",
            {"messages": "prompt", "output": "completion"},
        ),
        (
            {"conversation": [{"system": "s", "input": "q", "output": "a"}]},
            "XTuner conversations",
            {"messages": "conversation"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_column_shapes_are_recognised_with_their_reasons(record, shape, columns, as_json):
    source = table(record, as_json=as_json)
    choice = choose(source)
    assert choice.shape.startswith(shape)
    assert choice.columns == columns
    assert choice.left_out == tuple(name for name in record if name not in {*columns.values(), "tools"})
    assert len(samples(source, choice)) == 1
    assert [line.split("`")[1] for line in choice.why[:-1]] == list(record)
    assert choice.why[-1].startswith(f"read as {choice.shape} (")


@pytest.mark.parametrize("value", [False, 0, 0.0, "false", "0"])
@pytest.mark.parametrize("column", ["loss_weight", "train", "mask"])
def test_a_row_whose_flag_is_off_is_refused(column, value):
    source = table({"question": "q", "answer": "a", column: True}, {"question": "q", "answer": "a", column: value})
    choice = choose(source)
    first, second = source.first
    assert choice.mapping.conversation(first)
    (problem,) = choice.mapping.problems(second)
    assert (problem.column, problem.reason) == (
        column,
        f"has `{column}` off, and nothing to learn in it",
    )
    with pytest.raises(BadValueError):
        choice.mapping.conversation(second)
    assert choose(source, map={"instruction": "question", "output": "answer"}).mapping.conversation(second)


@pytest.mark.parametrize(
    ("column", "on", "off"),
    [("no_loss", 0, 1), ("是否训练", "是", "否"), ("untrained", "no", "yes"), ("train", "y", "n")],
)
def test_flags_of_rows_are_known_in_words_and_turned_round(column, on, off):
    source = table(*({"question": "q", "answer": "a", column: value} for value in (on, off)))
    mapping = choose(source).mapping
    assert mapping.conversation(source.first[0])
    assert mapping.problems(source.first[1])[0].reason.endswith(", and nothing to learn in it")


def test_truth_under_the_name_of_a_thought_is_no_reasoning():
    source = table({"question": "q", "answer": "a", "thinking": True})
    choice = choose(source)
    assert choice.left_out == ("thinking",)
    assert choice.mapping.conversation(source.first[0])
    (problem,) = choice.mapping.problems(
        msgspec.structs.replace(source.first[0], values={"question": "q", "answer": "a", "thinking": "hm"})
    )
    assert problem.reason == "holds reasoning; choose with `--map` what to read"


def test_unrecognised_columns_are_refused_with_notes_of_what_may_be_behind():
    found = table({"why?": "because"}, lettered=True)
    broken = Row(Where("faq.jsonl", 2), {}, "holds bytes that do not decode")
    found = msgspec.structs.replace(found, first=(*found.first, broken), notes=("read as cp1251",))
    with pytest.raises(InputError, match=r"(?s)note: read as cp1251\nnote: .* bytes that do not.*`--header-row none`"):
        choose(found)


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        ({"question": "Q", "answer": "A "}, {"instruction": "Q", "output": "A "}),
        ({"问题": "Q", "答案": "2"}, {"instruction": "Q", "output": "A "}),
        ({"Q": "instruction", "A ": "output"}, {"instruction": "Q", "output": "A "}),
        ({"A": "instruction", "B": "output"}, {"instruction": "Q", "output": "A "}),
        ({"Q": "问题", "2": "output"}, {"instruction": "Q", "output": "A "}),
        ({"prompt": "Q", "response": "B"}, {"instruction": "Q", "output": "A "}),
    ],
)
def test_column_map_accepts_other_field_names_and_swapped_sides(given, columns):
    assert choose(table({"Q": "q", "A ": "a"}, lettered=True), map=given).columns == columns


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"map": {"instruction": "q", "outpt": "a"}}, "unknown field `outpt`; did you mean `output`"),
        ({"map": {"instruction": "q", "output": "nope"}}, "no column `nope`"),
        ({"map": {"instruction": "q"}}, "does not name output\n  answer from `a`: --map output=a\n.*`class`"),
        ({"map": {"system": "q"}}, "does not name instruction or output\n  question from `a`, answer from `class`: "),
        (
            {"map": {"instruction": "q", "question": "m", "output": "a"}},
            "names two columns for instruction: `q` and `m`",
        ),
        (
            {"map": {"instruction": "q", "output": "a"}, "output": "{{ a }}"},
            "`--map output=...` and `--output` both",
        ),
        ({"map": {"messages": "m", "output": "a"}}, "cannot be combined with `output`"),
        ({"map": {"messages": "a"}}, r"`a` holds no lists of objects with role/content \(OpenAI messages\)"),
        ({"map": {"messages": "m"}, "label_map": {"1": "x"}}, "`--label-map` is for outputs"),
        ({"map": {"instruction": "q", "output": "a"}, "label_map": {"1": " "}}, "no text for the label `1`"),
        ({"map": {"instruction": "q", "output": "a"}, "stratify": "clas"}, "no column `clas`; did you mean `class`"),
        ({"map": {"instruction": "q", "output": "a"}, "system": "\udce4"}, "`--system` holds half of a surrogate pair"),
        (
            {"map": {"instruction": "q", "output": "a"}, "max_characters": 0},
            "must be a whole number of at least 1; got `0`",
        ),
        ({"input": "{{ nope }}"}, "template of `--input` uses `nope`"),
    ],
)
def test_mapping_options_that_do_not_fit_are_refused(wish, message):
    with pytest.raises(UsageError, match=message):
        choose(table({"q": "q", "a": "a", "m": GOOD, "class": 1}), **wish)


def test_column_map_decides_alone_over_recognised_headers():
    source = table({"question": "x", "answer": "y", "context": "z", "image": "a.png"}, lettered=True)
    choice = choose(source, map={"instruction": "C", "output": "answer"})
    assert choice.columns == {"instruction": "context", "output": "answer"}
    assert choice.left_out == ("question", "image")
    assert samples(source, choice)[0]["instruction"] == "z"
    assert choose(source, map={"input": "1", "output": "B"}).columns == {"instruction": "question", "output": "answer"}


def test_images_and_tools_are_refused_row_by_row():
    source = table({"messages": GOOD, "images": None}, {"messages": GOOD, "images": ["a.png"]})
    mapping = choose(source).mapping
    first, second = source.first
    assert mapping.conversation(first)
    (problem,) = mapping.problems(second)
    assert (problem.column, problem.value) == ("images", '["a.png"]')


def test_instruction_for_all_rows_goes_before_each_question():
    source = table({"Question": "q", "Answer": "a"}, {"Question": "", "Answer": "a"})
    choice = choose(source, instruction="Answer in one word.", stratify="Answer")
    assert choice.columns == {"instruction": "Answer in one word.", "input": "Question", "output": "Answer"}
    made = choice.mapping.conversation(source.first[0])
    assert (made.turns[0].user, made.label) == ("Answer in one word.\nq", "a")
    assert [each.field for each in choice.mapping.problems(source.first[1])] == ["input"]
    source = table({"thing": "q", "answer": "a"})
    with pytest.raises(QuestionError, match="no column is recognised") as raised:
        choose(source, instruction="Answer in one word.")
    (options,) = raised.value.answers.values()
    assert options == ["--map", "input=thing", "--map", "output=answer"]
    assert samples(source, choose(source, instruction="Answer in one word.", **taken(options)))


def test_fields_without_a_template_come_from_the_headers():
    source = table({"title": "t", "q1": "x", "q2": "y", "answer": "a", "system": "s"})
    choice = choose(source, input="{{ q1 }}/{{ q2 }}")
    assert choice.columns == {"system": "system", "instruction": "{{ q1 }}/{{ q2 }}", "output": "answer"}
    assert choice.left_out == ("title",)
    choice = choose(source, instruction="{{ q1 }}", output="{{ q2 }}!")
    assert samples(source, choice) == [
        {"instruction": "x", "input": "", "output": "y!", "system": "s", "history": []},
    ]


def test_a_preset_is_the_default_and_wishes_win():
    news = Preset(
        name="news",
        title="",
        source="",
        licence="",
        sheet="",
        columns={"output": "label"},
        system="Be brief.",
        sample={},
        model="",
        instruction="Classify.",
        input="{{ text }}",
        labels={"1": "good"},
    )
    source = table({"text": "t", "label": 1, "answer": "x"})
    choice = infer_mapping(source, MappingOptions(), news)
    (row,) = source.first
    made = choice.mapping.conversation(row)
    assert (made.system, made.turns[0].user, made.turns[0].output) == ("Be brief.", "Classify.\nt", "good")
    assert choice.why[-1].endswith("as the preset `news` says")
    made = infer_mapping(
        source, MappingOptions(instruction="Judge.", label_map={"1": "fine"}, system=""), news
    ).mapping.conversation(row)
    assert (made.system, made.turns[0].user, made.turns[0].output) == ("", "Judge.\nt", "fine")
    made = infer_mapping(
        source, MappingOptions(map={"instruction": "text", "output": "answer"}), news
    ).mapping.conversation(row)
    assert (made.turns[0].user, made.turns[0].output) == ("t", "x")


def test_a_known_column_that_comes_late_is_an_error_unless_a_map_decides():
    source = table({"question": "q", "answer": "a"})
    late = Row(Where("faq.jsonl", 9), {"question": "q", "answer": "a", "context": "c"})
    assert [each.field for each in choose(source).mapping.problems(late)] == ["input"]
    assert not choose(source, map={"instruction": "question", "output": "answer"}).mapping.problems(late)


@given(st.lists(st.fixed_dictionaries({"question": TEXT, "answer": TEXT}, optional={"context": TEXT}), min_size=1))
def test_text_of_recognised_columns_comes_through_whole(records):
    source = table(*records, as_json=True)
    choice = pickle.loads(pickle.dumps(choose(source)))
    names = ("question", "context", "answer")
    for row, record in zip(source.first, records, strict=False):
        (turn,) = choice.mapping.conversation(row).turns
        assert [decode_raw(text) for text in (turn.instruction, turn.input, turn.output)] == [
            record.get(n, "") for n in names
        ]


def test_medqa_workbook_and_jsonl_give_the_published_conversations(public_data):
    (workbook,) = open_path(public_data.folder / "medqa" / "MedQA2019.xlsx", Reading())
    expected = json.loads((public_data.folder / "medqa" / "MedQA2019-structured.jsonl").read_text("utf-8"))
    assert samples(workbook, infer_mapping(workbook, MappingOptions(), load_preset("medqa")), xtuner) == expected
    (structured,) = open_path(public_data.folder / "medqa" / "MedQA2019-structured.jsonl", Reading())
    choice = choose(structured)
    assert choice.shape == "XTuner conversations"
    assert samples(structured, choice, xtuner) == expected


def test_ruozhiba_raw_and_messages_give_the_same_samples(public_data):
    (raw,) = open_path(public_data.folder / "ruozhiba" / "ruozhiba_raw.jsonl", Reading())
    (messages,) = open_path(public_data.folder / "ruozhiba" / "ruozhiba_format.jsonl", Reading())
    choice = choose(raw)
    assert {"task_type", "human_verified"} <= set(choice.left_out)
    made = samples(raw, choice, xtuner)
    assert len(made) == public_data.rows["ruozhiba"]
    assert samples(messages, choose(messages), xtuner) == made


def test_huanhuan_records_come_out_unchanged(public_data):
    path = public_data.folder / "huanhuan" / "huanhuan-100.json"
    (source,) = open_path(path, Reading())
    choice = choose(source)
    assert choice.shape == "Alpaca"
    assert [asked(each) for each in samples(source, choice)] == json.loads(path.read_text("utf-8"))


def test_fudan_news_with_templates_gives_the_expected_prompts(public_data):
    path = public_data.folder / "fudan_news" / "text_category_output.jsonl"
    (source,) = open_path(path, Reading())
    made = samples(source, choose(source, instruction=CLASSIFY, input="文本:{{text}},类型选型:{{category}}"))
    expected = [
        {
            "instruction": CLASSIFY,
            "input": f"文本:{news['text']},类型选型:{news['category']}",
            "output": news["output"],
        }
        for news in map(json.loads, path.read_text("utf-8").splitlines())
    ]
    assert len(made) == public_data.rows["fudan_news"]
    assert [asked(each) for each in made] == expected


def test_patents_with_a_label_map_give_the_published_samples(public_data, folder):
    (source,) = open_path(public_data.folder / "patents" / "source.jsonl", Reading())
    expected = json.loads((public_data.folder / "patents" / "expected_alpaca.json").read_text("utf-8"))
    (folder / "labels.yaml").write_text("7: Electricity\n", "utf-8")
    choice = choose(
        source,
        instruction=expected[0]["instruction"],
        input="Classify the document:\n{{ text }}",
        label_map=load_label_map(folder / "labels.yaml"),
    )
    assert [asked(each) for each in samples(source, choice)] == expected


def test_chnsenticorp_rejects_its_one_empty_review(public_data):
    source = from_csv(public_data.folder / "chnsenticorp" / "ChnSentiCorp_htl_all.csv")
    mapping = choose(source, stratify="output").mapping
    rows = [row for piece in source.pieces for row in piece.rows()]
    problems = [problem for row in rows for problem in mapping.problems(row)]
    empty = public_data.row["chnsenticorp"]
    assert [(each.where.row, each.column, each.reason) for each in problems] == [(empty, "review", "is empty")]
    labels = [mapping.conversation(row).label for row in rows if row.where.row != empty]
    assert len(labels) == public_data.rows["chnsenticorp"] - 1
    assert set(labels) == {"0", "1"}


def test_raft_tweets_come_out_with_their_labels_by_name(public_data):
    source = from_csv(public_data.folder / "raft" / "train.csv")
    made = samples(source, choose(source))
    assert len(made) == public_data.rows["raft"]
    assert asked(made[0]) == {"instruction": public_data.tweet, "input": "", "output": "no complaint"}
