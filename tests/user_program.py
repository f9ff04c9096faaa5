"""A program of somebody who uses ftbridge; test_init.py has the type checker read it, with all that it gets."""

import sys
from io import StringIO
from pathlib import Path
from typing import assert_type

import ftbridge


def show(rows: int) -> None:
    """Show how far a conversion is."""
    sys.stderr.write(f"{rows}\r")


def main() -> int:
    """Convert, train, merge, ask and measure."""
    try:
        data = ftbridge.convert("medqa.xlsx", sheet="DrugQA", header_row=1, split="7:3", callback=show)
        losses: list[float] = []
        run = ftbridge.train(
            backend="xtuner",
            model=Path("base"),
            epochs=1,
            set={"a": 1},
            callback=lambda record: losses.append(record["loss"]),
        )
    except ftbridge.QuestionError as question:
        assert_type(question.reason, str)
        return question.exit_code
    except ftbridge.FtbridgeError as error:
        assert_type(error.exit_code, int)
        return error.exit_code
    assert_type(data, ftbridge.Conversion)
    assert_type(data.parts[0].files, dict[str, Path])
    assert_type(data.counts.written, int)
    assert_type(run, ftbridge.Run)
    assert_type(run.spec, ftbridge.TrainSpec)
    assert_type(run.spec.learning_rate, float)
    assert_type(ftbridge.export(run.id), Path)
    assert_type(ftbridge.merge(run, shard_size=10**9), Path)
    pieces = StringIO()
    sampling = ftbridge.Sampling(temperature=0.7)
    assert_type(ftbridge.chat(run.id, "what is aspirin for", sampling=sampling, callback=pieces.write), str)
    with ftbridge.chat_sessions(run.id, compare=True) as sessions:
        assert_type(sessions, tuple[ftbridge.ChatSession, ...])
        assert_type("".join(sessions[0].say("and ibuprofen")), str)
    assert_type(ftbridge.predict(run.id, limit=9), ftbridge.Predictions)
    found = ftbridge.evaluate(run, before=True, baseline=["none"], max_new_tokens=64)
    assert_type(found.evaluations[0].evaluation, ftbridge.Evaluation)
    assert_type(found.comparisons, tuple[ftbridge.Comparison, ...])
    assert_type(ftbridge.report(run, language="zh", xlsx=True), ftbridge.Report)
    assert_type(ftbridge.run_recipe("medqa", backend="xtuner", demo=True), ftbridge.RecipeRun)
    look_around(run)
    return 0


def look_around(run: ftbridge.Run) -> None:
    """Use what else there is."""
    assert_type(ftbridge.inspect("medqa.xlsx", sheet=["DrugQA"], callback=show), list[ftbridge.Profile])
    assert_type(ftbridge.preview(cutoff_length=512), ftbridge.Preview)
    assert_type(ftbridge.preflight(ftbridge.prepare(resume="auto")), list[ftbridge.Check])
    assert_type(ftbridge.doctor(), list[ftbridge.Check])
    assert_type(ftbridge.presets(), dict[str, ftbridge.Preset])
    assert_type(ftbridge.setup(), Path)
    assert_type(ftbridge.demo(train=False, keep="there"), ftbridge.Answers | None)
    assert_type(ftbridge.runs.list(), list[ftbridge.RunSummary])
    assert_type(ftbridge.runs.show(), ftbridge.RunDetails)
    assert_type(ftbridge.runs.losses(run), list[dict[str, float]])
    assert_type(ftbridge.runs.plot(run), ftbridge.LossPlot)
    assert_type(ftbridge.runs.plot(run, png="loss.png"), Path)
    assert_type(ftbridge.runs.compare(run, "another").differences, dict[str, list[object]])
    assert_type(ftbridge.runs.stop(run.id), ftbridge.Run)
    assert_type(ftbridge.runs.prune(dry_run=True), list[ftbridge.Leftover])
    assert_type(ftbridge.datasets.list(), list[ftbridge.DatasetSummary])
    assert_type(ftbridge.datasets.check("medqa"), list[ftbridge.CheckResult])
    assert_type(ftbridge.datasets.show("medqa").samples, list[ftbridge.Conversation])
    assert_type(ftbridge.datasets.remove("medqa"), ftbridge.Removed)


if __name__ == "__main__":
    sys.exit(main())
