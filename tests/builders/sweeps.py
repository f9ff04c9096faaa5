"""Sweeps as `ftbridge sweep` leaves them, made up: runs and evaluations are there, nothing was trained."""

import itertools
import math
import os

import msgspec

from ftbridge.core.project import Project
from ftbridge.evaluation.record import Baseline, Model
from ftbridge.evaluation.sweep.record import FOLDER, Point, Sweep, title_of

from .evaluations import CREATED, LABELS, MOST_TOKENS, classify, draw, evaluation
from .runs import loss_records, record_run

SIZES, BACKENDS, SEEDS = (100, 500, 1000, 2000), ("xtuner", "llamafactory"), (1, 2, 3)
FULL_DISK = "the disk is full: `runs` needs 1.2 GB more\nfree some, and start the sweep again"


def share_right(values, seed):
    """Return the share of questions that a point of these options has right: more with more samples, up to a level."""
    size = values.get("sample", 1000)
    other = 0.02 * (values.get("backend") == "xtuner") + 0.001 * int(values.get("lora_rank", 8))
    return 0.9 - 0.42 * math.exp(-int(size) / 420) + other + 0.012 * ((seed or 0) - 2)


def grid(**options):
    """Return the combinations of options, a dict each."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def write_sweep(
    folder, name="sizes", settings=None, *, seeds=SEEDS, failed=(), waiting=(), labels=LABELS, items=300, asked=True,
    right=share_right, metric="", **options,
):  # fmt: skip
    """Write a sweep in the project in `folder`, and return it; those `failed` and `waiting` are (setting, seed)s.

    By default of four sizes and two backends. Unless `asked`, no point was evaluated.
    """
    settings = grid(sample=SIZES, backend=BACKENDS) if settings is None else settings
    place = folder / FOLDER / name
    place.mkdir(parents=True)
    (folder / "ftbridge.yaml").touch()
    (place / "ftbridge.yaml").write_text("{}\n")
    project = Project.find(place)
    names = dict.fromkeys(key for each in settings for key in each)
    before = draw(items, labels, 0.38, 2, unread=0.2)
    points = []
    for at, (values, seed) in enumerate(itertools.product(settings, seeds)):
        point = Point(values=values, seed=seed, key=f"{at:016x}")
        if (at // len(seeds), seed) in failed:
            point = msgspec.structs.replace(point, error=FULL_DISK)
        elif (at // len(seeds), seed) not in waiting:
            point = _trained(project, point, at, before, labels, right(values, seed) if asked else None)
        points.append(point)
    made = Sweep(
        name=name,
        folder=str(place),
        varied=tuple(key for key in names if len({repr(each.get(key)) for each in settings}) > 1),
        constant={"model": "models/Qwen2.5-0.5B-Instruct", "method": "lora", "epochs": 3, **options},
        metric=metric,
        points=tuple(points),
        bases={"models/Qwen2.5-0.5B-Instruct": "9f" * 8},
        created=CREATED,
        version="0.1.0",
    )
    return made.save()


def _trained(project, point, at, before, labels, right):
    """Return a point with its run, and where a share of its answers is `right` with its evaluation."""
    size = point.values.get("sample", 1000)
    samples = 4000 if size == "all" else int(size)
    losses = loss_records(1.9, 0.2 + 40 / samples + 0.01 * (point.seed or 0))
    run = record_run(project, f"run-{at:03}", metrics=losses, model="base", dataset=f"news-{samples}-train", steps=2)
    msgspec.structs.replace(run, samples=samples).save()
    point = msgspec.structs.replace(point, run=run.id)
    if right is None:
        return point
    rows = draw(len(before), labels, right, 11 + at, unread=0.01 * (right < 1))
    simpler = {
        "most-frequent": [msgspec.structs.replace(row, answer=labels[0]) for row in rows],
        "tfidf": draw(len(rows), labels, 0.82 - 0.4 * math.exp(-samples / 700), 3),
    }
    file = evaluation(
        run.path / "evaluations" / "news-test",
        rows,
        labels=labels,
        title=title_of(point.values),
        model=Model(title=run.id, run=run.id),
        before=before,
        baselines=tuple(
            Baseline(name=name, training_samples=samples, scores=classify(answers, labels))
            for name, answers in simpler.items()
        ),
        max_new_tokens=MOST_TOKENS,
    )
    return msgspec.structs.replace(point, evaluation=os.path.relpath(file, project.folder))
