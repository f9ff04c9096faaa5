"""What a baseline learns from: the training part of a run as texts with their labels."""

from collections.abc import Iterator
from typing import NamedTuple

from ftbridge.core.project import Project
from ftbridge.dialogue.chat import without_thought
from ftbridge.evaluation.answers.questions import Question
from ftbridge.evaluation.answers.training_data import training_data
from ftbridge.launchers.runs.record import Run


class Labelled(NamedTuple):
    """A text and the label that it has."""

    text: str
    label: str


class TrainingTexts:
    """The training part of a run, read anew by each loop over it: what the model was asked, and its last answer.

    Thoughts are taken from the answers; samples without an answer are left out.
    """

    def __init__(self, project: Project, run: Run) -> None:
        """Find the files; raises InputError where they are gone, or not as they were when the run was trained."""
        self._data, self._with_system = training_data(project, run), run.several_systems

    def __iter__(self) -> Iterator[Labelled]:
        """Yield each sample."""
        for number, sample in enumerate(self._data.samples(), 1):
            question = Question.of(number, sample)
            if label := without_thought(question.reference).strip():
                yield Labelled(text_of(question, with_system=self._with_system), label)


def text_of(question: Question, *, with_system: bool) -> str:
    """Return what a model sees of a question that others do not have: what was said before it, and itself.

    A system prompt belongs to it where the training has several.
    """
    said = [text for turn in question.turns for text in turn]
    return "\n".join(filter(None, [question.system if with_system else "", *said]))
