"""The losses of runs in one plot: lines of text, coloured ones on a terminal, a picture in a notebook."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ftbridge.core.console import escaped, say, terminal_size
from ftbridge.core.errors import FtbridgeError
from ftbridge.language import gettext as _
from ftbridge.language import to_translate
from ftbridge.launchers.runs.charts.curves import by_whole_steps, smoothed
from ftbridge.launchers.runs.charts.picture import picture
from ftbridge.launchers.runs.charts.text import text_chart
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.runs.training_log import curve_points, read_curve

if TYPE_CHECKING:
    from rich.text import Text

KINDS = {to_translate("training"): "loss", to_translate("validation"): "validation_loss"}
WIDEST = 200  # columns of a chart


class LossPlot(str):  # noqa: SLOT000 - a few a session
    """The losses of runs as lines of text; a notebook shows the picture.

    `curves` are by the run's id and kind, training or validation, with one point a step; `names` are what the runs are
    called, by their ids; `heading` names the dataset and the model that all have.
    """

    curves: dict[str, dict[str, list[tuple[float, float]]]]
    names: dict[str, str]
    heading: str
    _python: Callable[[], Path]

    def __new__(cls, runs: Sequence[Run], python: Callable[[], Path]) -> Self:
        """Read the losses of `runs`; `python` returns the interpreter that has matplotlib."""
        curves = {}
        for run in runs:
            records = read_curve(run)
            found = {kind: by_whole_steps(curve_points(records, name)) for kind, name in KINDS.items()}
            if any(found.values()):
                curves[run.id] = found
        heading, names = _heading(runs), {run.id: run.name or run.id for run in runs}
        plot = super().__new__(cls, _chart(curves, names, heading).plain)
        plot.curves, plot.names, plot.heading, plot._python = curves, names, heading, python
        return plot

    def coloured(self) -> "Text":
        """Return coloured lines of Braille dots, for a terminal that shows both."""
        return _chart(self.curves, self.names, self.heading, dots=True)

    def picture(self) -> bytes:
        """Return the picture as PNG; raises SetupError where the training environment is missing."""
        runs = {self.names[run]: {**each, "smoothed": smoothed(each["training"])} for run, each in self.curves.items()}
        return picture(self._python(), "curves", {"title": self.heading, "runs": runs})

    def _repr_png_(self) -> bytes | None:
        """Return the picture for a notebook; where it cannot be drawn, the notebook shows the text."""
        try:
            return self.picture() if self.curves else None
        except FtbridgeError as error:
            say(_("warning: {error}").format(error=error))
            return None

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))


def _chart(
    curves: dict[str, dict[str, list[tuple[float, float]]]], names: dict[str, str], title: str, *, dots: bool = False
) -> "Text":
    named = {
        _("{kind} of {run}").format(kind=_(kind), run=escaped(names[run])): points
        for run, kinds in curves.items()
        for kind, points in kinds.items()
        if points
    }
    return text_chart(named, min(terminal_size()[0], WIDEST), title=escaped(title), dots=dots)


def _heading(runs: Sequence[Run]) -> str:
    """Return what was trained: the datasets and the model, where all runs have the same; of a model's folder the name.

    What only some have would stand above the curves of the others, too.
    """
    datasets = {run.spec.dataset_text for run in runs}
    models = {Path(run.spec.model).name if Path(run.spec.model).is_absolute() else run.spec.model for run in runs}
    return ", ".join(found.pop() for found in (datasets, models) if len(found) == 1)
