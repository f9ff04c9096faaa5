"""A report as the sheets of a workbook: its verdicts, its tables, and the answers that it shows."""

from collections.abc import Iterator

from ftbridge.evaluation.report.runs.answers import Answers
from ftbridge.evaluation.report.runs.contents import Contents
from ftbridge.evaluation.report.words import Words
from ftbridge.evaluation.report.workbook import Sheet, table_sheet


def sheets(contents: Contents, words: Words) -> Iterator[Sheet]:
    """Yield what a report tells, a sheet for each table."""
    verdicts = (
        (result.dataset, text)
        for result in contents.results
        for text in (
            result.asked,
            result.verdict.title,
            *result.verdict.sentences,
            *result.checks,
            *result.verdict.cautions,
        )
    )
    yield Sheet(words("contents_sheet"), (words("dataset"), contents.title), verdicts)
    for table in contents.tables:
        yield table_sheet(table, words)
    for result in contents.results:
        if result.prompts:
            yield _prompts_sheet(result.prompts, words)
        if result.answers:
            yield _answers_sheet(result.answers, "text_" if result.task == "generation" else "", words)


def _prompts_sheet(prompts: Answers, words: Words) -> Sheet:
    rows = (
        (asked.question, *(answer.text if answer else None for answer in reversed(asked.answers)))
        for asked in prompts.asked
    )
    return Sheet(words("prompts"), (words("prompt"), *reversed(prompts.titles)), rows)


def _answers_sheet(answers: Answers, kind: str, words: Words) -> Sheet:
    titles = (each for title in answers.titles for each in (title, words("is_right", title=title)))
    rows = (
        (
            each.id,
            each.question,
            each.reference,
            *(
                value
                for answer in each.answers
                for value in (
                    (answer.text, words(kind + ("right" if answer.right else "wrong"))) if answer else (None, None)
                )
            ),
        )
        for each in answers.asked
    )
    return Sheet(words("answers"), (words("number"), words("question"), words("reference"), *titles), rows)
