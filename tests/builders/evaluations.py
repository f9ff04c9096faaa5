"""Evaluations as `ftbridge evaluate` leaves them, made up: answers drawn by lot, and figures counted from them."""

import math
import random
from collections import Counter
from datetime import UTC, datetime

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

from .runs import loss_records, record_run

LABELS = ("sports", "finance", "technology", "health", "politics", "travel")
CHINESE = ("体育", "财经", "科技", "健康", "时政", "旅游")
CREATED = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)
TEXTS = {
    "sports": "The home side won {n} to 1 after extra time, and the coach praised the young goalkeeper.",
    "finance": "The bank raised its forecast for the year by {n} per cent, which surprised the market.",
    "technology": "The maker of chips showed a processor with {n} cores that needs half the power.",
    "health": "A study of {n} patients found that walking an hour a day lowers the blood pressure.",
    "politics": "The council passed the budget with {n} votes against, after a debate into the night.",
    "travel": "The new night train needs {n} hours to the coast, with a sleeping car and breakfast.",
    "体育": "主队在加时赛后以 {n} 比 1 获胜，教练称赞了年轻的守门员。",
    "财经": "银行把全年预测上调了百分之 {n}，出乎市场意料。",
    "科技": "芯片厂商展示了 {n} 核处理器，功耗只有一半。",
    "健康": "对 {n} 名患者的研究发现，每天步行一小时可以降低血压。",
    "时政": "经过彻夜辩论，议会以 {n} 票反对通过了预算。",
    "旅游": "新的夜行列车到海边需要 {n} 小时，有卧铺车厢和早餐。",
}


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
    return Figure(value=value, low=value - half, high=min(1.0, value + half), items=items, method="bootstrap")


def prediction(number, question, answer, reference, finish="stop"):
    """Return a line of predictions.jsonl, with the prompt as a chat template writes it."""
    turns = {"system": "Name the topic.", "user": question}
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
        notes=(f"{unread} answers name no label",) if unread else (),
        rule="an answer is read as a label where it is that label, or that label alone stands in it",
    )


def compared(after, before, titles, figures):
    """Return the comparison of two models' answers to the same questions."""
    pairs = Counter(
        (without_thought(one.answer) == one.reference, other.answer == other.reference)
        for one, other in zip(after, before, strict=True)
    )
    gained, lost = pairs[True, False], pairs[False, True]
    tail = sum(math.comb(gained + lost, at) for at in range(min(gained, lost) + 1)) / 2 ** (gained + lost)
    return Comparison(
        first=titles[0],
        second=titles[1],
        items=len(after),
        both=pairs[True, True],
        only_first=gained,
        only_second=lost,
        neither=pairs[False, False],
        p_value=min(1.0, 2 * tail),
        differences=figures,
        sentence=f"{len(after)} items, {gained} only {titles[0]} right, {lost} only {titles[1]} right",
    )


def difference(after, before, half=0.05):
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
    """Return answers to `items` questions, this share of them right."""
    chance, rows = random.Random(seed), []  # noqa: S311 - made up
    questions = random.Random(7)  # noqa: S311
    for number in range(1, items + 1):
        reference = questions.choice(labels)
        question = TEXTS.get(reference, "A text about {n}.").format(n=questions.randrange(2, 90))
        drawn = chance.random()
        near = labels[(labels.index(reference) + 1 + (chance.random() < 0.3)) % len(labels)]
        answer = reference if drawn < right else near
        if drawn > 1 - unread:
            answer = "I would say that this text is about several things, and it is hard to name only one of them."
        rows.append(prediction(number, question, answer, reference, "length" if chance.random() < 0.01 else "stop"))
    return rows


def evaluation(folder, rows, *, labels=LABELS, title="news-lora", before=None, baselines=True, **fields):
    """Write the evaluation of a classification's answers into `folder`, and return its file."""
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
    if baselines:
        simple = draw(len(rows), labels, 0.74, 3)
        commonest = [msgspec.structs.replace(row, answer=labels[0]) for row in rows]
        values["baselines"] = (
            Baseline(name="most-frequent", training_samples=1200, scores=classify(commonest, labels)),
            Baseline(name="tfidf", training_samples=1200, scores=classify(simple, labels)),
        )
    if before:
        base = classify(before, labels)
        values |= {
            "before": base,
            "before_predictions": str(write_predictions(folder / "answers-before", before)),
            "comparisons": (compared(rows, before, (title, "before"), difference(scores, base)),),
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
        pair = compared(rows, before, (title, "before"), difference(after, base))
        values = {
            "before": base,
            "before_predictions": str(write_predictions(folder / "answers-before", before)),
            "comparisons": (msgspec.structs.replace(pair, p_value=None),),
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
    """Make a project in `folder` with a trained run, its dataset on record, and its evaluation; return its file."""
    (folder / "ftbridge.yaml").write_text("tokens: native\n")
    project = Project.find(folder)
    losses = [1.9 * math.exp(-at / 45) + 0.12 + 0.05 * math.sin(at * 1.7) / (1 + at / 40) for at in range(225)]
    validation = [
        {"step": at, "validation_loss": 1.75 * math.exp(-at / 45) + 0.21 + at / 4000, "attempt": 1}
        for at in range(25, 226, 25)
    ]
    metrics = sorted([*loss_records(*losses), *validation], key=lambda record: record["step"])
    run = record_run(
        project, name, metrics=metrics, steps=225, dataset="news-train", model="models/Qwen2.5-0.5B-Instruct"
    )
    options = EntryOptions(
        dataset="news",
        asked={"split": "8:1:1", "on_error": "skip", "max_rejected": ""},
        names=["news-train"],
        counts={"read": 1543, "written": 1500, "rejected": 31, "duplicates": 12, "left_out": 0, "empty": 2},
        rejected={"news.rejected.jsonl": ""},
    )
    entry = DatasetEntry(
        version="1", files={"xtuner": "news-train.xtuner.jsonl"}, samples=run.samples, sources={"news.xlsx": "ab" * 32},
        columns={"output": "label"}, options=options,
    )  # fmt: skip
    register(project.folder / "data", {"news-train": entry})
    reasons = [("label", "output is empty")] * 24 + [("text", "instruction is longer than 1,000,000 characters")] * 7
    (project.folder / "data" / "news.rejected.jsonl").write_bytes(
        b"".join(msgspec.json.encode({"column": column, "reason": reason}) + b"\n" for column, reason in reasons)
    )
    after, before = draw(items, labels, 0.88, 1, unread=0.01), draw(items, labels, 0.41, 2, unread=0.22)
    place = run.path / "evaluations" / "news-test"
    return evaluation(place, after, labels=labels, title=name, before=before)
