"""Questions and answers about who a model is and who made it, from the phrases in phrases/self-cognition-*.yaml.

{"instruction": "Who are you?", "output": "I'm Ada, an AI assistant developed by Team Lovelace."}
"""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain, cycle, islice, product, zip_longest

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.json_yaml import closest, load_yaml, parse
from ftbridge.language import gettext as _

LANGUAGES = ("zh", "en")


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Questions and answers of which any question goes with any answer."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


class Phrases(msgspec.Struct, frozen=True, kw_only=True):
    """The phrases of one language: `others` maps another assistant to its maker, `mistaken` asks about those."""

    openers: tuple[str, ...]
    others: dict[str, str]
    topics: dict[str, Topic]
    mistaken: dict[str, Topic]


def rows(
    name: str, author: str, count: int | None = None, languages: Sequence[str] = LANGUAGES
) -> Iterator[dict[str, str]]:
    """Return records of instruction and output, topics and languages mixed, no question twice.

    Of the few hundred there are, the first `count` are given. Raises UsageError for an empty name or author, an
    unknown language, and a `count` that cannot be met.
    """
    if not name.strip() or not author.strip():
        raise UsageError(_("self-cognition needs a name and an author: `--set name=… --set author=…`"))
    identity = {"name": name.strip(), "author": author.strip()}
    groups = [
        list(group) for language in dict.fromkeys(languages) for group in _rows_by_topic(phrases(language), identity)
    ]
    mixed = chain.from_iterable(zip_longest(*groups))
    records = list({row["instruction"]: row for row in mixed if row}.values())
    if count is not None and not 1 <= count <= len(records):
        raise UsageError(
            _("self-cognition can make 1 to {most} rows, not {count}; change `--set count=…`").format(
                most=len(records), count=count
            )
        )
    return islice(iter(records), count)


@cache
def phrases(language: str) -> Phrases:
    """Return the phrases of a language; raises UsageError for an unknown one."""
    if language not in LANGUAGES:
        raise UsageError(
            _("self-cognition does not speak `{language}`{hint}").format(
                language=language, hint=closest(language, LANGUAGES)
            )
        )
    file = files("ftbridge.dataset_info") / "phrases" / f"self-cognition-{language}.yaml"
    return parse(Phrases, load_yaml(file.read_text(encoding="utf-8"), file.name), file.name)


def _rows_by_topic(wording: Phrases, identity: dict[str, str]) -> Iterator[Iterator[dict[str, str]]]:
    """Yield the rows of each topic; an assistant that shares a name or maker with `identity` is none to be denied."""
    openers = cycle(wording.openers)
    for topic in wording.topics.values():
        greeted = [next(openers) + question for question in topic.questions]
        yield _fill_topic([(question, identity) for question in (*topic.questions, *greeted)], topic)
    others = [
        {**identity, "other": other, "maker": maker}
        for other, maker in wording.others.items()
        if not any(_share_a_name(mine, their) for mine in identity.values() for their in (other, maker))
    ]
    for topic in wording.mistaken.values():
        yield _fill_topic(list(product(topic.questions, others)), topic)


def _fill_topic(questions: list[tuple[str, dict[str, str]]], topic: Topic) -> Iterator[dict[str, str]]:
    """Yield a row for each question, which comes with what it and its answer are filled with."""
    # The phrases are ours; what they are filled with is never read as a phrase itself.
    for (question, names), answer in zip(questions, cycle(topic.answers), strict=False):
        yield {"instruction": question.format(**names), "output": answer.format(**names)}


def _share_a_name(one: str, other: str) -> bool:
    """Tell whether one of the names holds the other, in any case."""
    one, other = one.casefold(), other.casefold()
    return one in other or other in one
