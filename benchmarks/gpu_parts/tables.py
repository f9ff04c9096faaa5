"""The results as Markdown, for a page with a place for them."""

from typing import Any

BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->"
NAMES = {"xtuner": "XTuner", "llamafactory": "LLaMA-Factory"}


def results_as_markdown(results: dict[str, Any], phases: dict[str, Any]) -> str:
    """Return the machine in a line, then what each phase found; `phases` have their titles and columns."""
    about = results["machine"]
    lines = [", ".join(f"{key} {value}" for key, value in about.items() if key != "packages"), ""]
    if packages := about.get("packages"):
        lines += [", ".join(f"{name} {version}" for name, version in packages.items()), ""]
    for name, phase in phases.items():
        if found := results["phases"].get(name):
            lines += [f"### {phase.title}", "", f"{found['status']}, {found['seconds']:.0f} s.", ""]
            lines += _table(phase.columns, found["rows"])
    return "\n".join(lines)


def _table(columns: dict[str, str], rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table, without the columns that no row has; [] for no rows."""
    if not rows:
        return []
    keys = [key for key in columns if any(row.get(key) is not None for row in rows)]
    body = [_line(_cell(row.get(key)) for key in keys) for row in rows]
    return [_line(columns[key] for key in keys), "|" + "---|" * len(keys), *body, ""]


def insert_results(page: str, text: str) -> str:
    """Return `page` with `text` between its two marks; raises ValueError where it has none."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for results between `{BEGIN.strip()}` and `{END}`")
    return f"{head}{begin}\n{text.strip()}\n\n{end}{tail}"


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else NAMES.get(str(value), " ".join(str(value).replace("|", "/").split()))
