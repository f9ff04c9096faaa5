"""What is wrong with the rows of a source: one problem, and the tally of many, shown as a table."""

import sys

import msgspec

from ftbridge.core.console import GAP, aligned, is_terminal, terminal_size
from ftbridge.core.console.wrapping import LEAST, cut, wrap
from ftbridge.core.records import Where
from ftbridge.language import gettext as _

_Row = tuple[str, str, str, str]
# How many problems a table shows.
PROBLEMS_SHOWN = 20


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one value of one row; `letter` is its column's, in a sheet."""

    where: Where
    column: str
    letter: str
    field: str
    reason: str
    value: str = ""

    @property
    def address(self) -> str:
        """Return the place without the file: `DrugQA!D17`, or `line 3`."""
        return self.where.cell(self.letter)


class Tally:
    """The number of problems, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Problem] = []

    def add(self, problems: list[Problem]) -> None:
        """Count problems, and keep them while few are kept."""
        self.count += len(problems)
        self.first += problems[: PROBLEMS_SHOWN - len(self.first)]

    def table(self) -> str:
        """Return the first problems as an aligned table, address, field, what is wrong, value; and how many follow.

        A terminal gets the reasons wrapped, and as much of the values as it has room for beside them.
        """
        several = len({each.where.file for each in self.first}) > 1
        rows = [(_("address"), _("field"), _("reason"), _("value"))]
        for each in self.first:
            address = (
                str(each.where)
                if several and not each.letter
                else f"{each.where.file} {each.address}"
                if several
                else each.address
            )
            rows.append((address, each.field or _("row"), each.reason, each.value))
        more = self.count - len(self.first)
        if is_terminal(sys.stderr):
            rows = _fitted(rows, terminal_size()[0])
        return aligned(rows) + (_("\n... and {more} more").format(more=more) if more else "")


def _fitted(rows: list[_Row], width: int) -> list[_Row]:
    """Return rows that fit into a terminal of this width, a row for each line of a reason."""
    from rich.cells import cell_len, chop_cells

    places, fields, reasons, values = (max(map(cell_len, column)) for column in zip(*rows, strict=True))
    room = width - places - fields - 3 * GAP
    if room < LEAST:
        return rows
    for_value = max(room - reasons, min(values, room // 3))
    fitted: list[_Row] = []
    for place, field, reason, value in rows:
        lines = wrap(reason, room - for_value)
        first, *more = [part for line in lines for part in chop_cells(line, room - for_value)]
        fitted.append((place, field, first, cut(value, for_value)))
        fitted += [("", "", line, "") for line in more]
    return fitted
