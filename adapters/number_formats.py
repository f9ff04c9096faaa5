"""Values as Excel displays them, from a cell's number format: `0.256` under `0.0%` is `25.6%`.

A format is one to four sections for positive and negative numbers, zero and text (ECMA-376 part 1, 18.8.31), or has
conditions such as `[>=1000]`. Colours, and the widths of `_x` and `*x`, are not text and left out. Names of months
and days are English, as in an English Excel.
"""

import datetime as dt
import math
import re
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cache
from typing import NamedTuple

Value = str | float | int | bool | dt.datetime | dt.date | dt.time | dt.timedelta | None
EPOCH = dt.datetime(1899, 12, 30)  # noqa: DTZ001 - a sheet's dates have no zone
TOKEN = re.compile(
    r"""(?P<literal>"[^"]*"|\\.|_.|\*.|\[\$[^\]]*\])
    | (?P<elapsed>\[(?:h+|m+|s+)\])
    | \[(?P<condition>[<>=]+-?[\d.]+)\]
    | (?P<dropped>\[[A-Za-z]+\d*\])
    | (?P<noon>AM/PM|A/P|上午/下午)
    | (?P<general>General)
    | (?P<exponent>E[+-])
    | (?P<date>y+|m+|d+|h+|s+|e+|aaaa?)
    | (?P<digit>[0#?])
    | (?P<sign>[.,%/@])
    | (?P<other>[-+$ ():!^&'~{}<>=]|[^\x00-\x7f]|\d)""",
    re.IGNORECASE | re.VERBOSE,
)
LONG_DATE = {"mm-dd-yy": "m/d/yyyy"}  # format 14, which openpyxl names so: Excel's own is that of the country
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
