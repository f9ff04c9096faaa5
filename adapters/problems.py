"""What is wrong with the rows of a source: one problem, and the tally of many, shown as a table."""

import msgspec

from ftbridge.core.console import aligned
from ftbridge.core.records import Where
from ftbridge.language import gettext as _

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
        """Return the first problems as an aligned table, address, field, what is wrong, value; and how many follow."""
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
        return aligned(rows) + (_("\n... and {more} more").format(more=more) if more else "")
