"""Evaluations as `ftbridge evaluate` leaves them, made up: answers drawn by lot, and figures counted from them."""

import math
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec

from ftbridge.core.project import Project
from ftbridge.core.records import DatasetEntry, EntryOptions
from ftbridge.dataset_info.registry import register
from ftbridge.dialogue.chat import without_thought
from ftbridge.evaluation.answers.folder import Prediction
from ftbridge.evaluation.record import (
    Baseline,
    ClassFigures,
    Comparison,
    Confusion,
    Engine,
    Evaluation,
    Figure,
    Leakage,
    Model,
    Scores,
)
from ftbridge.launchers.runs.record import Attempt

from .runs import loss_records, record_run

LABELS = ("sports", "finance", "technology", "health", "politics", "travel")
CHINESE = ("体育", "财经", "科技", "健康", "时政", "旅游")
CREATED = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)
# What questions are made of: a sentence of the label, a place, and a number.
TEXTS = {
    "sports": (
        "{place} won {n} to 7 after extra time, and the coach praised the young goalkeeper.",
        "A runner from {place} came in first in the {n} kilometre race, in pouring rain.",
        "The tennis final in {place} lasted {n} games, and was decided by a double fault.",
    ),
    "finance": (
        "The bank of {place} raised its forecast for the year by {n} per cent, which surprised the market.",
        "Shares of a brewery in {place} fell by {n} per cent after a weak quarter.",
        "A fund from {place} pays {n} million for the insurer and takes over its debts.",
    ),
    "technology": (
        "A maker of chips in {place} showed a processor with {n} cores that needs half the power.",
        "Engineers in {place} made a battery that is charged in {n} minutes.",
        "A robot from {place} sorted {n} parcels a minute at the fair.",
    ),
    "health": (
        "A study of {n} patients in {place} found that walking an hour a day lowers the blood pressure.",
        "The hospital of {place} opens a ward with {n} beds for premature babies.",
        "Doctors in {place} report {n} cases of measles since the holidays.",
    ),
    "politics": (
        "The council of {place} passed the budget with {n} votes against, after a debate into the night.",
        "The mayor of {place} resigned after {n} days in office.",
        "In {place}, {n} parties have put up candidates for the election in spring.",
    ),
    "travel": (
        "The new night train from {place} needs {n} hours to the coast, with a sleeping car and breakfast.",
        "A path of {n} kilometres around {place} leads hikers past three castles.",
        "Hotels in {place} count {n} per cent more guests than last summer.",
    ),
    "体育": ("{place}队以 {n} 比 7 获胜，教练称赞了年轻的守门员。", "{place}选手在雨中的 {n} 公里赛跑中夺冠。"),
    "财经": ("{place}银行把全年预测上调了百分之 {n}，出乎市场意料。", "{place}一家啤酒厂的股价下跌了百分之 {n}。"),
    "科技": ("{place}的芯片厂商展示了 {n} 核处理器，功耗只有一半。", "{place}的工程师研制出 {n} 分钟充满的电池。"),
    "健康": ("对{place} {n} 名患者的研究发现，每天步行可以降低血压。", "{place}医院新开了有 {n} 张床的早产儿病房。"),
    "时政": ("经过彻夜辩论，{place}议会以 {n} 票反对通过了预算。", "{place}市长上任 {n} 天后辞职。"),
    "旅游": ("从{place}到海边的夜行列车需要 {n} 小时，有卧铺和早餐。", "{place}周边 {n} 公里的步道经过三座古堡。"),
}
PLACES = ("Lindau", "Porto", "Bergen", "Graz", "Leeds", "Turin"), ("杭州", "大连", "昆明", "青岛", "长沙", "厦门")
# What names no class: with these many tokens the limit has ended it.
MOST_TOKENS = 16
RAMBLING = (
    (
        "I would say that this text is about several things, and it is hard to",
        "This is a short piece of news which could be put under more than one",
    ),
    ("这段文字涉及多个方面，很难只", "这条新闻可以归入不止一个"),
)
INSTRUCTIONS = "Name the topic.", "给出这条新闻的主题。"


def share(value, items):
    """Return a share with Wilson's interval."""
    if not items:
        return Figure(value=0.0, low=0.0, high=0.0, items=0, method="wilson")
    z = 1.959964
    centre = (value + z * z / (2 * items)) / (1 + z * z / items)
    half = z * math.sqrt(value * (1 - value) / items + z * z / (4 * items * items)) / (1 + z * z / items)
    return Figure(value=value, low=max(0, centre - half), high=min(1, centre + half), items=items, method="wilson")


def rough(value, items, half=None):
    """Return a figure with an interval that is about right."""
    half = half or 1 / math.sqrt(max(items, 1))
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Figure(value=value, low=low, high=high, items=items, method="bootstrap")


def prediction(number, question, answer, reference, finish="stop", instruction=INSTRUCTIONS[0]):
    """Return a line of predictions.jsonl, with the prompt as a chat template writes it."""
    turns = {"system": instruction, "user": question}
    told = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns.items())
    return Prediction(number, f"{told}<|im_start|>assistant\n", answer, reference, finish)


def write_predictions(folder, rows):
    """Write predictions.jsonl into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "predictions.jsonl"
    file.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return file


def classify(rows, labels):
    """Return the scores of answers that are a label or none."""
    columns = [*labels, None]
    counts = [[0] * len(columns) for _ in labels]
    for row in rows:
        answer = without_thought(row.answer)
        counts[labels.index(row.reference)][columns.index(answer if answer in labels else None)] += 1
    right = sum(counts[at][at] for at in range(len(labels)))
    classes = []
    for at, label in enumerate(labels):
        support, answered = sum(counts[at]), sum(row[at] for row in counts)
        recall, precision = counts[at][at] / (support or 1), counts[at][at] / (answered or 1)
        f1 = 2 * recall * precision / ((recall + precision) or 1)
        classes.append(
            ClassFigures(
                name=label,
                support=support,
                precision=share(precision, answered),
                recall=share(recall, support),
                f1=rough(f1, support),
            )
        )
    unread = sum(row[-1] for row in counts)
    macro = {
        name: sum(getattr(each, name).value for each in classes) / len(labels) for name in ("precision", "recall", "f1")
    }
    return Scores(
        task="classification",
        items=len(rows),
        figures={
            "accuracy": share(right / len(rows), len(rows)),
            **{f"macro_{name}": rough(value, len(rows), 0.04) for name, value in macro.items()},
            "kappa": rough((right / len(rows) - 1 / len(labels)) / (1 - 1 / len(labels)), len(rows), 0.05),
        },
        classes=tuple(classes),
        confusion=Confusion(labels=tuple(labels), counts=tuple(map(tuple, counts))),
        parsed={"exact": len(rows) - unread, "normalized": 0, "contained": 0, "unparseable": unread},
        finish=dict(Counter(row.finish_reason for row in rows)),
        notes=(f"{unread} of {len(rows)} answers could not be read as a label, and are wrong",) if unread else (),
        rule="an answer is read as a label where it is that label, or that label alone stands in it",
    )


def compared(after, before, titles, judged):
    """Return the comparison of two models' answers to the same questions."""
    pairs = Counter(
        (without_thought(one.answer) == one.reference, other.answer == other.reference)
        for one, other in zip(after, before, strict=True)
    )
    gained, lost = pairs[True, False], pairs[False, True]
    tail = sum(math.comb(gained + lost, at) for at in range(min(gained, lost) + 1)) / 2 ** (gained + lost)
    # As wide as the interval of a difference of paired shares.
    half = 1.96 * math.sqrt(gained + lost - (gained - lost) ** 2 / len(after)) / len(after)
    return Comparison(
        first=titles[0],
        second=titles[1],
        items=len(after),
        both=pairs[True, True],
        only_first=gained,
        only_second=lost,
        neither=pairs[False, False],
        p_value=min(1.0, 2 * tail),
        differences=difference(*judged, half),
        sentence=f"{len(after)} items, {gained} only {titles[0]} right, {lost} only {titles[1]} right",
    )


def difference(after, before, half):
    """Return the differences of the figures of two models."""
    return {
        name: Figure(
            value=after.figures[name].value - before.figures[name].value,
            low=after.figures[name].value - before.figures[name].value - half,
            high=after.figures[name].value - before.figures[name].value + half,
            items=after.items,
            method="bootstrap",
        )
        for name in after.figures
    }


def draw(items, labels, right, seed, *, unread=0.0):
    """Return answers to `items` questions, which are all different, this share of them right."""
    chance, rows = random.Random(seed), []  # noqa: S311 - made up
    questions = random.Random(7)  # noqa: S311
    chinese, asked = labels[0] in CHINESE, set()
    while len(rows) < items:
        reference = questions.choice(labels)
        text = questions.choice(TEXTS.get(reference, ("A text about {n} from {place}.",)))
        question = text.format(n=questions.randrange(8, 40), place=questions.choice(PLACES[chinese]))
        question = f"{question} ({len(rows)})" if reference not in TEXTS else question
        if question in asked:
            continue
        asked.add(question)
        drawn, at = chance.random(), labels.index(reference)
        near = labels[(at + (1 if chance.random() < 0.6 else chance.randrange(len(labels)))) % len(labels)]
        answer, finish = reference if drawn < right else near, "stop"
        if drawn > 1 - unread:
            answer, finish = chance.choice(RAMBLING[chinese]), "length"
        rows.append(prediction(len(rows) + 1, question, answer, reference, finish, INSTRUCTIONS[chinese]))
    return rows


def evaluation(folder, rows, *, labels=LABELS, title="news-lora", before=None, baselines=True, **fields):
    """Write the evaluation of a classification's answers into `folder`, and return its file.

    `baselines` are made up where they are True.
    """
    scores = classify(rows, labels)
    values = {
        "model": Model(title=title, run=title),
        "dataset": "news-test",
        "data": "5e" * 32,
        "predictions": str(write_predictions(folder / "answers", rows)),
        "scores": scores,
        "engine": Engine(name="transformers"),
        "leakage": Leakage(questions=len(rows), trained=0, dataset="news-train"),
        "cut_answers": scores.finish.get("length", 0),
        "created": CREATED,
        "version": "0.1.0",
    }
    if baselines is not True:
        values["baselines"] = baselines or ()
    else:
        simpler = {
            "most-frequent": [msgspec.structs.replace(row, answer=labels[0]) for row in rows],
            "tfidf": draw(len(rows), labels, 0.74, 3),
        }
        judged = {name: classify(answers, labels) for name, answers in simpler.items()}
        values["baselines"] = tuple(
            Baseline(name=name, training_samples=8 * len(rows), scores=each) for name, each in judged.items()
        )
        values["comparisons"] = tuple(
            compared(rows, answers, (title, name), (scores, judged[name])) for name, answers in simpler.items()
        )
    if before:
        base = classify(before, labels)
        values |= {
            "before": base,
            "before_predictions": str(write_predictions(folder / "answers-before", before)),
            "comparisons": (
                *values.get("comparisons", ()),
                compared(rows, before, (title, "before"), (scores, base)),
            ),
        }
    return Evaluation(**{**values, **fields}).save(folder)


def generation(folder, rows, *, title="qa-lora", before=None, **fields):
    """Write the evaluation of free answers into `folder`, and return its file."""

    def scores(answers, chrf):
        exact = sum(row.answer == row.reference for row in answers) / len(answers)
        return Scores(
            task="generation",
            items=len(answers),
            figures={
                "exact_match": share(exact, len(answers)),
                "chrf": rough(chrf, len(answers), 0.03),
                "rouge_l": rough(chrf - 0.05, len(answers), 0.03),
                "answer_length": Figure(value=42.5, low=40, high=45, items=len(answers), method="bootstrap"),
                "ended": share(1.0, len(answers)),
            },
            finish={"stop": len(answers)},
            rule="the answer is the reference, blanks at the ends aside",
        )

    after = scores(rows, 0.62)
    values = {}
    if before:
        base = scores(before, 0.31)
        pair = compared(rows, before, (title, "before"), (after, base))
        values = {
            "before": base,
            "before_predictions": str(write_predictions(folder / "answers-before", before)),
            "comparisons": (msgspec.structs.replace(pair, p_value=None, differences=difference(after, base, 0.05)),),
        }
    made = Evaluation(
        **{
            "model": Model(title=title, run=title),
            "dataset": "qa-test",
            "data": "9a" * 32,
            "predictions": str(write_predictions(folder / "answers", rows)),
            "scores": after,
            "engine": Engine(name="transformers"),
            "created": CREATED,
            "version": "0.1.0",
            **values,
            **fields,
        }
    )
    return made.save(folder)


def write_news(folder, name="news-lora", *, labels=LABELS, items=300):
    """Make a project in `folder` with a trained run, its dataset on record, and its evaluation; return its file.

    The test part are `items`, a tenth of the rows; eight tenths were trained on, three times, 32 samples a step.
    """
    (folder / "ftbridge.yaml").write_text("tokens: native\n")
    project = Project.find(folder)
    samples, steps = 8 * items, 3 * math.ceil(8 * items / 32)
    losses = [1.9 * math.exp(-at / 45) + 0.12 + 0.05 * math.sin(at * 1.7) / (1 + at / 40) for at in range(steps)]
    validation = [
        {"step": at, "validation_loss": 1.75 * math.exp(-at / 45) + 0.21 + at / 4000, "attempt": 1}
        for at in range(steps // 9, steps + 1, steps // 9)
    ]
    metrics = sorted([*loss_records(*losses), *validation], key=lambda record: record["step"])
    run = record_run(
        project, name, metrics=metrics, steps=steps, dataset="news-train", model="models/Qwen2.5-0.5B-Instruct",
        micro_batch_size=4, gradient_accumulation_steps=8,
    )  # fmt: skip
    begun = CREATED - timedelta(hours=1)
    msgspec.structs.replace(
        run,
        samples=samples,
        datasets={"news.xlsx": "ab" * 32, "news-train.xtuner.jsonl": "cd" * 32},
        attempts=(Attempt(begun, begun + timedelta(minutes=21, seconds=30), 0),),
    ).save()
    options = EntryOptions(
        dataset="news",
        asked={"split": "8:1:1", "on_error": "skip", "max_rejected": ""},
        names=["news-train"],
        counts={
            "read": 10 * items + 43, "written": 10 * items, "rejected": 31, "duplicates": 12, "left_out": 0, "empty": 2,
        },
        sha256={"xtuner": "cd" * 32},
        rejected={"news.rejected.jsonl": ""},
    )  # fmt: skip
    entry = DatasetEntry(
        version="1", files={"xtuner": "news-train.xtuner.jsonl"}, samples=samples, sources={"news.xlsx": "ab" * 32},
        columns={"output": "label"}, options=options,
    )  # fmt: skip
    register(project.folder / "data", {"news-train": entry})
    reasons = [("label", "output is empty")] * 24 + [("text", "instruction is longer than 1,000,000 characters")] * 7
    (project.folder / "data" / "news.rejected.jsonl").write_bytes(
        b"".join(msgspec.json.encode({"column": column, "reason": reason}) + b"\n" for column, reason in reasons)
    )
    after, before = draw(items, labels, 0.88, 1, unread=0.01), draw(items, labels, 0.41, 2, unread=0.22)
    place = run.path / "evaluations" / "news-test"
    return evaluation(place, after, labels=labels, title=name, before=before, max_new_tokens=MOST_TOKENS, seconds=75.0)
