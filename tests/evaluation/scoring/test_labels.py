"""Answers as labels: what is read as one, what is denied, and what is no label at all."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.evaluation.scoring.labels import Parser

PATENTS = ["Chemistry; Metallurgy", "Textiles; Paper", "Physics", "Electricity"]


@pytest.mark.parametrize(
    ("labels", "answer", "expected"),
    [
        (PATENTS, "Physics", ("Physics", "exact")),
        (PATENTS, "\n Physics ", ("Physics", "exact")),
        (PATENTS, "“chemistry;  metallurgy”.", ("Chemistry; Metallurgy", "normalized")),
        (PATENTS, "\N{FULLWIDTH LATIN CAPITAL LETTER P}hysics。", ("Physics", "normalized")),
        (PATENTS, "The category is **Electricity**, since a battery is charged.", ("Electricity", "contained")),
        (PATENTS, "Physics or Electricity", ("", "unparseable")),
        (PATENTS, "Geophysics", ("", "unparseable")),
        (PATENTS, "", ("", "unparseable")),
        (["正面", "负面"], "这条评论的情感倾向是正面的。", ("正面", "contained")),
        (["Sports", "Politics"], "类别是Sports类", ("Sports", "contained")),
        (["complaint", "no complaint"], "It is no complaint!", ("no complaint", "contained")),
        (["complaint", "no complaint"], "A complaint, not no complaint", ("complaint", "contained")),
        (["1", "10"], "10.", ("10", "normalized")),
        (["A", "a"], "a", ("a", "exact")),
        (["A", "a"], "a.", ("", "unparseable")),
        (["+", "-"], " + ", ("+", "exact")),
        (["C++", "C"], "c++", ("C++", "normalized")),
        (["C#", "C"], "c#.", ("C#", "normalized")),
        (["C++", "C"], "I take C++, of course", ("C++", "contained")),
        (["-1", "0", "1"], "-1.", ("-1", "normalized")),
        (["-1", "0", "1"], "It is -1, so", ("-1", "contained")),
        (["-1", "0"], "1", ("", "unparseable")),
        (["A", "A-", "A+"], "a-", ("A-", "normalized")),
        (["A", "A-", "A+"], "Grade: A-, well done", ("A-", "contained")),
        (["A", "B"], "N/A", ("", "unparseable")),
        (["A", "B"], "I'd say B", ("B", "contained")),
        (["toxic", "fine"], "non-toxic", ("", "unparseable")),
        (["toxic", "non-toxic"], "It is non toxic.", ("non-toxic", "contained")),
        (["toxic", "non-toxic"], "nontoxic", ("non-toxic", "contained")),
        (["nontoxic", "non-toxic"], "it is non-toxic", ("non-toxic", "contained")),
        (["1", "-1"], "\N{MINUS SIGN}1", ("-1", "normalized")),
        (["C", "D"], "C\N{MUSIC SHARP SIGN}", ("", "unparseable")),
        (["toxic", "fine"], "a toxic-sounding word", ("toxic", "contained")),
        (["NET", ".NET"], ".net", (".NET", "normalized")),
        (["NET", ".NET"], "...net", ("NET", "normalized")),
        (["12", "2"], "1\N{SUPERSCRIPT TWO}", ("", "unparseable")),
        (["1", "5"], "\N{FULLWIDTH DIGIT ONE}\u3002", ("1", "normalized")),
        (["1", "5"], "<answer>1</answer>", ("1", "contained")),
        (["1", "5"], "- 1", ("1", "normalized")),
        (["1", "5"], "5\u5206", ("5", "contained")),
        (["1", "5"], "\u7b54\u6848\u2014\u20141", ("1", "contained")),
        (
            ["\u30ac"],
            "\N{HALFWIDTH KATAKANA LETTER KA}\N{HALFWIDTH KATAKANA VOICED SOUND MARK}",
            ("\u30ac", "normalized"),
        ),
    ],
)
def test_answer_is_read_as_the_label_that_it_names(labels, answer, expected):
    assert Parser(labels).read(answer) == expected


MINUS, DASH, SQUARED, DEGREE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{SUPERSCRIPT TWO}", "\N{DEGREE SIGN}"
OTHERS = {
    "1": [
        "-1",
        f"{MINUS}1",
        f"{DASH}1",
        "\u8d1f1",
        "+1",
        "$1",
        "<1",
        "~1",
        "1%",
        "1 %",
        "1+",
        f"1{DEGREE}",
        f"1{SQUARED}",
    ],
    "5": [".5", "0.5", "5.1", "5,000", "5:1", "1/5", "1-5", "-5.5"],
    "35": ["3.5", "35%", "-35", "35.0"],
    "-1": ["1", "10-1", "--1", "-1.5", "-1%", "-10"],
    "50%": ["50", "5", "-50%", "0.50%"],
    "A": ["A-", "A+", f"A{MINUS}", "A#", "A+B", "A/B", "A_B", "Q&A", "B-A", ".A"],
    "A-": ["A", "A+", "A--", "A-b"],
    "C": ["C++", "C#", "c++"],
    "C++": ["C", "C#", "c+"],
    "NET": [".NET", "non-net"],
    ".NET": ["NET"],
}


@pytest.mark.parametrize("around", ["{}", "{}.", "({})", "So: {}, yes", "**{}**", "\N{LEFT DOUBLE QUOTATION MARK}{}!"])
@pytest.mark.parametrize(("label", "other"), [(label, other) for label, others in OTHERS.items() for other in others])
def test_labels_that_differ_by_signs_are_told_apart(label, other, around):
    assert Parser([label]).read(around.format(other)) == ("", "unparseable")
    parser = Parser([label, other])
    assert parser.read(around.format(other))[0] == other
    assert parser.read(around.format(label))[0] == label


@given(st.lists(st.text().map(str.strip).filter(bool), min_size=1, unique=True), st.text(), st.data())
def test_a_label_is_read_as_itself_and_no_other_is_made_up(labels, answer, data):
    parser = Parser(labels)
    label, how = parser.read(answer)
    assert (label in labels) is (how != "unparseable")
    own = data.draw(st.sampled_from(labels))
    assert parser.read(f" {own}\n") == (own, "exact")
    assert Parser([own]).read(f"So: {own}!")[0] == own


TONE, NEWS, SPAM = ["positive", "negative"], ["体育", "政治"], ["spam", "not spam"]
FEELING = ["正面", "负面"]


@pytest.mark.parametrize(
    ("labels", "answer", "label"),
    [
        (TONE, "It is not positive.", ""),
        (TONE, "It isn't positive", ""),
        (TONE, "It isn\N{RIGHT SINGLE QUOTATION MARK}t really a positive review", ""),
        (TONE, "I don't think it's positive", ""),
        (TONE, 'not "positive"', ""),
        (TONE, "not **positive**", ""),
        (TONE, "It cannot be positive", ""),
        (TONE, "no positive words", ""),
        (TONE, "Neither positive nor negative", ""),
        (TONE, "not positive or negative", ""),
        (TONE, "not positive but negative", "negative"),
        (TONE, "negative rather than positive", "negative"),
        (TONE, "No, it is positive", "positive"),
        (["yes", "no"], "No, it isn't", "no"),
        (["是", "否"], "不是", ""),
        (TONE, "not only positive", "positive"),
        (TONE, "There is no doubt it is positive", "positive"),
        (TONE, "The user is not happy so negative", "negative"),
        (TONE, "The note is positive", "positive"),
        (SPAM, "It is not spam, sure", "not spam"),
        (SPAM, "It isn't spam", ""),
        (["spam", "ham"], "It is not spam", ""),
        (["cat", "cat food"], "cat food, not cat", "cat food"),
        (["cat", "cat food"], "not cat food", ""),
        (["toxic", "fine"], "non toxic", ""),
        (["1", "2"], "The answer is no. 1", "1"),
        (NEWS, "不是体育", ""),
        (NEWS, "这不是一篇体育新闻", ""),
        (NEWS, "不是体育和政治", ""),
        (NEWS, "不属于体育类别，属于政治", "政治"),
        (FEELING, "非正面", ""),
        (FEELING, "非负面", ""),
        (FEELING, "并非负面。", ""),
        (FEELING, "不是“正面”", ""),
        (FEELING, "无负面情绪", ""),
        (FEELING, "没有负面", ""),
        (FEELING, "我不认为这是正面的评价", ""),
        (FEELING, "不是正面，而是负面", "负面"),
        (FEELING, "負面評價而非正面", ""),
        (FEELING, "负面而非正面", "负面"),
        (FEELING, "這不屬於正面", ""),
        (FEELING, "这条评论非常正面", "正面"),
        (FEELING, "无疑是正面", "正面"),
        (FEELING, "不仅是正面", "正面"),
        (FEELING, "用户不满属于负面", "负面"),
        (["正常", "非正常"], "该样本为非正常", "非正常"),
        (["正常", "异常"], "该样本为非正常", ""),
    ],
)
def test_a_label_that_is_denied_does_not_count(labels, answer, label):
    assert Parser(labels).read(answer)[0] == label


@given(st.text(alphabet="不是非无没 ,，.ABnotisr'", max_size=60))
def test_what_is_read_stands_in_the_answer(answer):
    label, _ = Parser(["A", "B"]).read(answer)
    assert label.lower() in answer.lower()


@pytest.mark.parametrize("piece", ["not a ", "不是的", "A or ", " ", "isn't it that it is "])
def test_long_answers_are_read_in_linear_time(piece):
    parser = Parser(["A", "B", *(f"label {number}" for number in range(100))])
    begun = time.process_time()
    parser.read(piece * 1000)
    assert time.process_time() - begun < 0.5
