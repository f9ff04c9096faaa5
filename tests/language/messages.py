"""The messages in the code, and the catalogue that translates them: `python -m tests.language.messages` updates it.

A message is the text in `_("...")`, the noun of `counted`, the docstring of a command, the description of an option of
trainings, one of click's own texts, or a value in a YAML file that is shown.
"""

import ast
import inspect
import re
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import yaml
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from ftbridge.language import COUNTED

ROOT = Path(__file__).parents[2]
FILE = ROOT / "ftbridge" / "language" / "zh" / "LC_MESSAGES" / "ftbridge.po"
FOLDERS = ("ftbridge", "adapters", "launchers", "dataset_info", "templates")
# Modules of click with texts that a user of ours can meet.
CLICK = ("core", "decorators", "exceptions", "formatting", "parser", "termui", "types")
# YAML files with texts that are shown, and the keys that have them.
SHOWN = {
    "launchers/training/failures.yaml": {"cause", "remedy"},
    "launchers/preflight/packing.yaml": {"together"},
    "dataset_info/recipes": {"title"},
    "dataset_info/presets": {"title", "licence"},
}
# Two words, or a word beside a value: what a person reads.
PROSE = re.compile(r"[A-Za-z0-9`'}\]),;:.%!?] [A-Za-z0-9`'{(\[]")
# Exceptions and functions whose text is shown, whatever it is, and parameters of which this is so.
ERRORS = re.compile(r"(Error|InterruptedRun|BadParameter)$")
FUNCTIONS = {"say", "confirm", "echo", "prompt", "fail", "progress", "progress_bar"}
PARAMETERS = {"help", "short_help", "show_default"}
# What is called with texts that nobody is shown.
INTERNAL = {
    "TypeError", "AttributeError", "KeyError", "AssertionError", "NotImplementedError", "RuntimeError", "SystemExit",
    "compile", "match", "search", "sub", "fullmatch", "findall", "finditer", "split", "startswith", "endswith",
    "removeprefix", "removesuffix", "partition", "rpartition", "replace", "count", "find", "index", "glob", "rglob",
    "fromkeys", "encode", "cast", "with_name", "joinpath", "get_template", "getenv", "NewType", "TypeVar",
}  # fmt: skip
UNSEEN_PARAMETERS = {"examples", "metavar", "names", "description"}
# Texts that are the same in every language: commands to type, names, values of options, Jinja, what rich fills in.
SAME = re.compile(
    r"\{%| \| map\(|</|"
    r"^(\n? *(cd|ftbridge) .*|last|all|bar|spinner|failure|warning|ftbridge\.yaml|.*\{task\..*|(Bearer|Basic) \{\}|"
    r"([a-z]+ )*[a-z]+_[a-z_ ]+)$"
)
# Modules, and what is in them, whose literals nobody is shown, or in English.
NOT_SHOWN = {
    "adapters/mapping/headers.py:HEADERS": "headers that are looked for",
    "adapters/mapping/headers.py:TEXT_PAIRS": "headers that are looked for",
    "adapters/mapping/headers.py:QUALIFIED": "a pattern",
    "adapters/mapping/inference/suggestions.py:_sources_in_lists": "Jinja",
    "adapters/mapping/inference/table_columns.py:TableColumns.preference_columns": "headers that are looked for",
    "adapters/mapping/conversations/formats.py:_style_name": "names in JSON",
    "adapters/sources/locate.py:_standard_input": "the name of a file",
    "adapters/mapping/inference/sidecar.py:_sidecar_of_entry": "names that are compared",
    "adapters/values.py:with_article": "names in JSON",
    "ftbridge/evaluation/predict.py:_xlsx_rows": "names of fields",
    "ftbridge/cli/figures.py:NAMES": "names of figures",
    "ftbridge/__init__.py:_NAMES": "names of functions",
    "ftbridge/core/console/notebook.py:_BAR": "CSS",
    "ftbridge/dialogue/generation.py:_out_of_memory": "what torch says",
    "ftbridge/evaluation/answers/asking.py:plan_for_server": "a name in records",
    "launchers/backends/other_configs/llamafactory.py:_RENAMED_TEXT": "names of arguments",
    "launchers/backends/other_configs/llamafactory.py:_DECIDED_TEXT": "names of arguments",
    "ftbridge/cli/reference.py": "docs/cli.md is in English",
    "ftbridge/dialogue/generation.py:_SPILLED": "what transformers says",
    "ftbridge/dialogue/generation.py:_OWN_CODE": "what transformers says",
    "ftbridge/dialogue/generation.py:_UNSEEN": "what torch says",
    "ftbridge/dialogue/system_templates.py:SYSTEMS": "prompts",
    "ftbridge/evaluation/answers/engines/endpoint.py:_TOO_LONG": "what servers say",
    "ftbridge/experiments/recipes/demo.py:_KEPT": "names of options",
    "ftbridge/evaluation/report/report.py:MARK": "a mark in a file",
    "ftbridge/evaluation/report/workbook.py:CREATOR": "a mark in a file",
    "ftbridge/experiments/recipes/init.py:_SYSTEMS": "prompts",
    "ftbridge/experiments/sweep/train_points.py:FULL": "what frameworks say",
    "ftbridge/experiments/training.py:write_interpreters": "a comment in a file",
    "ftbridge/tokens/differences.py:_RULES": "names in records",
    "ftbridge/tokens/differences.py:compare": "names in records",
    "ftbridge/tokens/differences.py:_Changed": "names in records",
    "ftbridge/tokens/differences.py:_label_differences": "names in records",
    "ftbridge/tokens/differences.py:_missing_labels": "names in records",
    "ftbridge/tokens/differences.py:_extra_labels": "names in records",
    "ftbridge/weights/model_files/chat_template.py:_QUESTION": "text that a template is tried with",
    "ftbridge/weights/model_files/chat_template.py:_SYSTEM": "text that a template is tried with",
    "ftbridge/weights/model_files/chat_template.py:_MORE_TURNS": "text that a template is tried with",
    "ftbridge/evaluation/evaluate.py:_verdict": "names in JSON",
    "launchers/training/progress.py:_bar_or_lines": "columns of a bar",
    "launchers/preview/html.py:_TEXT": "CSS",
    "launchers/preview/html.py:_LEARNED": "CSS",
    "launchers/preview/html.py:preview_html": "HTML around messages",
    "launchers/training/failures.py:explain_failure": "what a log says",
    "launchers/hardware/host.py:processor": "a key of /proc/cpuinfo",
    "launchers/hardware/nvidia.py:NO_PEER_ACCESS": "names of GPUs",
    "launchers/hardware/nvidia.py:gpu_query": "what nvidia-smi says",
    "launchers/runs/summary.py:_compared_values": "names in JSON",
    "launchers/training/failures.py:_DISK_FULL_LINE": "what a system says",
    "templates/detect.py:_renders_same_prompt": "text that a template is tried with",
}


@dataclass(frozen=True)
class Literal:
    """A text in the code that a user may be shown: where it is, and whether it is written as a message."""

    file: str
    scope: str
    node: ast.expr
    text: str
    wrapped: bool

    @property
    def places(self) -> set[str]:
        """Return its file, and what it is in there, as NOT_SHOWN names them."""
        scopes = self.scope.split(".")
        within = (".".join(scopes[:depth]) for depth in range(1, len(scopes) + 1))
        return {self.file, *(f"{self.file}:{each}" for each in within)}


def template(node: ast.AST) -> str | None:
    """Return a literal's text, with `{}` for what an f-string puts in; None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _called(node: ast.AST) -> str:
    """Return the name of what is called, "" for no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_message(node: ast.AST) -> bool:
    """Tell whether a part of an expression is a message, or reads as one."""
    called = (
        node.func.value if _called(node) == "format" and isinstance(getattr(node, "func", 0), ast.Attribute) else node
    )
    text = template(node) or ""
    return _called(called) == "_" or bool(PROSE.search(text) and not SAME.search(text))


class _Finder(ast.NodeVisitor):
    """Finds the literals of a file that a user may be shown."""

    def __init__(self, file: str) -> None:
        self.file, self.scopes, self.found = file, [""], list[Literal]()

    def visit_ClassDef(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        self.scopes.append(node.name)
        # Annotations are no texts.
        for part in [*node.decorator_list, *node.body, *getattr(getattr(node, "args", None), "defaults", ())]:
            self.visit(part)
        self.scopes.pop()

    visit_FunctionDef = visit_ClassDef  # noqa: N815

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_named(node.target, node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_named(node.targets[0], node.value)

    def _visit_named(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for each, part in zip(target.elts, value.elts, strict=True):
                self._visit_named(each, part)
            return
        name = next((each.id for each in ast.walk(target) if isinstance(each, ast.Name)), "")
        top = len(self.scopes) == 1
        self.scopes += [name] if top else []
        if top and isinstance(value, ast.Dict) and name != "HEADINGS":
            self._visit_alike(value, with_keys=False)  # by which a module's table is asked
        elif name == "HEADINGS" and value:
            self._visit_headings(value)
        elif value:
            self.visit(value)
        self.scopes = self.scopes[:-1] if top else self.scopes

    def _visit_headings(self, node: ast.expr) -> None:
        for title in getattr(node, "keys", ()):
            self._take(title)

    def _visit_alike(self, node: ast.Tuple | ast.List | ast.Dict | ast.IfExp, *, with_keys: bool = True) -> None:
        """Take a word that stands among messages, as in a row of titles, for one as well."""
        parts = {ast.Dict: ("values",), ast.IfExp: ("body", "orelse")}.get(type(node), ("elts",))
        found: list[Any] = [getattr(node, part) for part in parts]
        texts = found if isinstance(node, ast.IfExp) else found[0]
        shown = [each for each in texts if _is_message(each)]
        take = shown and all(template(each) is not None or each in shown for each in texts)
        for each in texts:
            self._visit_part(each, shown=bool(take) and each not in shown)
        if isinstance(node, ast.IfExp):
            self.visit(node.test)
        elif isinstance(node, ast.Dict) and with_keys:
            self._visit_alike(ast.Tuple([key for key in node.keys if key]))

    visit_Tuple = visit_List = visit_Dict = visit_IfExp = _visit_alike  # noqa: N815

    def _visit_comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> None:
        """Pass over what is looked for in a text, as in `any(word in text for word in ("a", "b"))`."""
        if not isinstance(node.elt, ast.Compare):
            self.generic_visit(node)

    visit_GeneratorExp = visit_ListComp = _visit_comprehension  # noqa: N815

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        for part in (node.left, *node.comparators):
            if not any(template(each) for each in ast.walk(part)):
                self.visit(part)

    def visit_Set(self, node: ast.Set) -> None:
        """Pass over what is only compared with."""

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node)
        if name == "counted":
            self.visit(node.args[0])
        elif name in {"_", "to_translate", "ngettext"}:
            for part in node.args[:2]:
                self._take(part, wrapped=True)
        else:
            self._visit_arguments(node, name)

    def _visit_arguments(self, node: ast.Call, name: str) -> None:
        internal, shown = name in INTERNAL, name in FUNCTIONS or ERRORS.search(name) is not None
        if not (internal and template(getattr(node.func, "value", node))):
            self.visit(node.func)
        # The name of a check is translated where it is shown.
        for number, part in enumerate(node.args[1:] if name == "Check" else node.args):
            if not internal or any(isinstance(each, ast.Call) for each in ast.walk(part)):
                self._visit_part(part, shown=shown and not number and not internal)
        for keyword in node.keywords:
            if keyword.arg == "headings":
                self._visit_headings(keyword.value)
            elif keyword.arg not in UNSEEN_PARAMETERS:
                self._visit_part(keyword.value, shown=keyword.arg in PARAMETERS)

    def _visit_part(self, part: ast.expr, *, shown: bool) -> None:
        if shown and template(part) is not None:
            self._take(part)
        else:
            self.visit(part)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and PROSE.search(node.value):
            self._take(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        if re.search("[A-Za-z]", (template(node) or "").replace("{}", "")) and PROSE.search(template(node) or ""):
            self._take(node)
        else:
            self._visit_values(node)

    def _visit_values(self, node: ast.JoinedStr) -> None:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def _take(self, node: ast.expr, *, wrapped: bool = False) -> None:
        text = template(node)
        if text is None:
            self.visit(node)
            return
        if re.search("[A-Za-z}]", text):
            self.found.append(Literal(self.file, ".".join(filter(None, self.scopes)), node, text, wrapped))
        if isinstance(node, ast.JoinedStr):
            self._visit_values(node)


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules whose messages are translated; scripts run where ftbridge is not."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "scripts" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def is_internal(literal: Literal) -> bool:
    """Tell whether a literal is none that is shown, though it looks so."""
    return bool(SAME.search(literal.text)) or not NOT_SHOWN.keys().isdisjoint(literal.places)


def literals(file: str, tree: ast.Module) -> list[Literal]:
    """Return the literals of a file that a user may be shown."""
    finder = _Finder(file)
    finder.visit(tree)
    return finder.found


def placeholders(text: str) -> list[str]:
    """Return the names of the values that are put into a text, with conversion and format."""
    parsed = string.Formatter().parse(text)
    return sorted({f"{name}!{conversion}:{spec}" for _text, name, spec, conversion in parsed if name is not None})


Entry = tuple[str | tuple[str, str], str | None]  # a text, or singular and plural; its context


def _messages_of_calls(tree: ast.Module) -> Iterator[Entry]:
    """Yield what `_`, `ngettext` and `counted` are called with, and what Meta describes."""
    for node in ast.walk(tree):
        name = _called(node)
        if not isinstance(node, ast.Call) or not (node.args or node.keywords):
            continue
        texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if name in {"_", "to_translate"} and texts:
            yield texts[0], None
        elif name == "ngettext" and len(texts) == 2:
            yield (texts[0], texts[1]), None
        elif name == "counted" and texts:
            yield texts[0], COUNTED
        elif name == "Check" and texts and texts[0] == getattr(node.args[0], "value", None):
            yield texts[0], None
        elif name == "Meta":
            yield from ((k.value.value, None) for k in node.keywords
                        if k.arg == "description" and isinstance(k.value, ast.Constant))  # fmt: skip


def _docstrings_of_commands(tree: ast.Module) -> Iterator[Entry]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            keywords = [each.arg for each in getattr(decorator, "keywords", ())]
            if _called(decorator) in {"command", "group"} and "help" not in keywords:
                yield inspect.cleandoc(ast.get_docstring(node) or ""), None


def _texts_of_yaml(value: Any, keys: set[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key in keys and isinstance(each, str | dict):
                yield from [each] if isinstance(each, str) else each
            else:
                yield from _texts_of_yaml(each, keys)
    elif isinstance(value, list):
        for each in value:
            yield from _texts_of_yaml(each, keys)


def extract() -> dict[Entry, str]:
    """Return every message, with the first file that has it."""
    found: dict[Entry, str] = {}
    for file, tree in sources():
        for entry in [*_messages_of_calls(tree), *(_docstrings_of_commands(tree) if "/cli/" in file else ())]:
            found.setdefault(entry, file)
    for name in CLICK:
        path = Path(click.__file__).with_name(f"{name}.py")
        for entry in _messages_of_calls(ast.parse(path.read_text("utf-8"))):
            found.setdefault(entry, f"click/{name}.py")
    for place, keys in SHOWN.items():
        path = ROOT / place
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            for text in _texts_of_yaml(yaml.safe_load(file.read_text("utf-8")), keys):
                found.setdefault((text, None), file.relative_to(ROOT).as_posix())
    return {entry: file for entry, file in found.items() if entry[0]}


def read_catalogue(file: Path = FILE) -> Catalog:
    """Return the translations as they are written down."""
    with file.open("rb") as stream:
        return read_po(stream, locale="zh", domain="ftbridge")


def untranslated(catalogue: Catalog) -> list[Message]:
    """Return the messages that have no translation."""
    return [message for message in catalogue if message.id and not any(message.string)]


def update(file: Path = FILE) -> Catalog:
    """Bring the catalogue up to date with the code and compile it; returns it."""
    old = read_catalogue(file)
    head = "# The messages of ftbridge in Chinese; `make messages` writes this file, but for the translations."
    always = datetime(2026, 1, 1, tzinfo=UTC)  # so that nothing changes where no message does
    new = Catalog("zh", None, head, project="ftbridge", version="all", creation_date=always, fuzzy=False)
    for text, context in extract():
        before = old.get(text if isinstance(text, str) else text[0], context)
        new.add(text, before.string if before else "", context=context)
    write(new, file)
    return new


def write(catalogue: Catalog, file: Path = FILE) -> None:
    """Write a catalogue as .po, and compiled as .mo beside it."""
    with file.open("wb") as stream:
        write_po(stream, catalogue, width=120, sort_output=True)
    with file.with_suffix(".mo").open("wb") as stream:
        write_mo(stream, catalogue)


if __name__ == "__main__":
    sys.stdout.write(f"{len(untranslated(update()))} messages are not translated yet\n")
