"""Texts that a Jinja template makes of a row's columns: `文本:{{text}},类型选型:{{category}}`.

Templates are Jinja in a sandbox, and of Jinja only what neither runs for ever nor makes endless text, whatever
stands in a row: no functions, no assignment, no multiplication, no loop in a loop.
"""

import re
from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from functools import cache
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

import msgspec

from ftbridge.adapters.columns import column_listing, did_you_mean
from ftbridge.adapters.values import (
    LARGEST_EXACT,
    BadCell,
    BadValueError,
    as_text,
    decode_raw,
    is_blank,
    parse_container,
)
from ftbridge.core.errors import UsageError
from ftbridge.core.records import Table
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes

# What a template may use: parts of Jinja's syntax, methods of values, and filters.
PARTS = {
    *("Template", "Output", "TemplateData", "If", "For", "Name", "Const", "List", "Tuple", "Dict", "Pair"),
    *("Getattr", "Getitem", "Slice", "Concat", "Add", "Sub", "Neg", "Compare", "Operand", "And", "Or", "Not"),
    *("CondExpr", "Filter", "Test", "Keyword", "Call"),
}
# The parts and filters with which a template says something else where there is nothing.
DECIDING = {"If", "For", "CondExpr", "Or", "Test", "Compare"}
DEFAULTS = {"d", "default"}
COUNTING = {"count", "length", "sum", "tojson"}
METHODS = {
    *("strip", "lstrip", "rstrip", "split", "lower", "upper", "title", "startswith", "endswith"),
    *("get", "items", "keys", "values"),
}
FILTERS = {
    *("abs", "capitalize", "count", "d", "default", "first", "float", "int", "items", "join", "last", "length"),
    *("list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "select"),
    *("selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper", "wordcount"),
}


class RowTemplate(msgspec.Struct, frozen=True):
    """A Jinja template over a row's columns, or a text without any.

    `columns_by_name` are the columns by the names that it uses, `row_columns` those it reaches as `row['a name']`.
    One that `handles_empty` says itself what stands for what is empty, by a condition or a default.
    """

    template: str
    columns_by_name: dict[str, str] = {}
    row_columns: tuple[str, ...] = ()
    handles_empty: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the template uses; none for a text that is the same for every row."""
        return tuple(dict.fromkeys([*self.columns_by_name.values(), *self.row_columns]))

    def render(self, values: dict[str, Any]) -> str:
        """Return the text for a row's values; raises BadValueError where the template does not fit them.

        It is "" where all columns that it uses are empty, unless it handles that itself.
        """
        if not _is_template(self.template):
            return self.template
        from jinja2 import TemplateError

        used = {column: _template_value(column, values.get(column)) for column in self.columns}
        if used and not self.handles_empty and all(map(is_blank, used.values())):
            return ""
        names = {name: used[column] for name, column in self.columns_by_name.items()}
        try:
            return _compile_template(self.template).render(names, row=used)
        except (TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise BadValueError(_("does not fit the template: {error}").format(error=error)) from error


def parse_template(template: str, field: str, table: Table) -> RowTemplate:
    """Return the checked template of `field` for the rows of `table`.

    A column whose name is no Jinja name is reached as `row['a name']`, or as `a_name` where only one is meant.
    Raises UsageError for a mistake in the template and for a column that is not there.
    """
    if not _is_template(template):
        return RowTemplate(template)
    from jinja2 import TemplateSyntaxError, meta

    where = _("the template of `--{field}`").format(field=field)
    try:
        tree = _environment().parse(template)
        if unsafe := next(_unsafe_parts(tree), None):
            raise UsageError(_("{where} uses {unsafe}, which is not allowed here").format(where=where, unsafe=unsafe))
        _compile_template(template)
        undeclared = meta.find_undeclared_variables(tree)
    except TemplateSyntaxError as error:
        raise UsageError(
            _("{where} has a syntax error in line {lineno}: {message}").format(
                where=where, lineno=error.lineno, message=error.message
            )
        ) from error
    except RecursionError as error:
        raise UsageError(_("{where} is nested too deeply").format(where=where)) from error
    names = _columns_by_name(table.columns)
    row_columns = tuple(dict.fromkeys(_columns_of_row(tree))) if "row" in undeclared else ()
    if "" in row_columns:
        raise UsageError(
            _("{where} must say which column of `row` it means, as in `row['{column}']`").format(
                where=where, column=table.columns[0]
            )
        )
    for name in sorted((undeclared - names.keys() - {"row"}) | (set(row_columns) - set(table.columns))):
        hint = did_you_mean(name, [*names, *table.columns])
        raise UsageError(
            _("{where} uses `{name}`, which is not a column{hint}\n{column_listing}").format(
                where=where, name=name, hint=hint, column_listing=column_listing(table)
            )
        )
    used = {name: names[name] for name in sorted(undeclared - {"row"})}
    return RowTemplate(template, used, row_columns, _handles_empty(tree))


def _handles_empty(tree: "nodes.Template") -> bool:
    """Tell whether a template says something else where there is nothing: a condition, a loop, a default, an `or`."""
    from jinja2 import nodes

    parts = {type(node).__name__ for node in tree.find_all(nodes.Node)}
    return bool(parts & DECIDING) or any(each.name in DEFAULTS | COUNTING for each in tree.find_all(nodes.Filter))


def _is_template(template: str) -> bool:
    return "{{" in template or "{%" in template


def _columns_by_name(columns: Iterable[str]) -> dict[str, str]:
    """Return the columns by the names that a template can use, `Tweet_text` for `Tweet text`."""
    names = {column: column for column in columns if column.isidentifier()}
    others = {column: re.sub(r"\W+", "_", column).strip("_") for column in columns if column not in names}
    count = Counter(others.values())
    return {name: column for column, name in others.items() if count[name] == 1} | names


def _columns_of_row(tree: "nodes.Template") -> Iterator[str]:
    """Yield the columns that a template reaches as `row['a name']` or `row.name`, "" for any other use of `row`."""
    from jinja2 import nodes

    reached: list[tuple[nodes.Node, Any]] = [(node.node, node.attr) for node in tree.find_all(nodes.Getattr)]
    reached += [(node.node, getattr(node.arg, "value", None)) for node in tree.find_all(nodes.Getitem)]
    keys = [key for node, key in reached if isinstance(node, nodes.Name) and node.name == "row"]
    columns = [key for key in keys if isinstance(key, str)]
    yield from columns
    if len(columns) < sum(node.name == "row" for node in tree.find_all(nodes.Name)):
        yield ""


def _unsafe_parts(tree: "nodes.Template") -> Iterator[str]:
    """Yield what a template uses that could run for ever or make endless text."""
    from jinja2 import nodes

    for node in tree.find_all(nodes.Node):
        kind = type(node).__name__
        if kind not in PARTS:
            yield _("Jinja's `{operator}`").format(operator=getattr(node, "operator", kind.lower()))
        elif isinstance(node, nodes.Name) and node.name == "self":
            yield "`self`"
        elif isinstance(node, nodes.Getattr) and node.attr.startswith("__"):
            yield f"`{node.attr}`"
        elif isinstance(node, nodes.Call) and not _calls_known_method(node):
            yield _("a function")
        elif isinstance(node, nodes.For) and node.find(nodes.For):
            yield _("a loop in a loop")
        elif isinstance(node, nodes.Filter) and node.name not in DEFAULTS and not _takes_only_constants(node):
            yield _("the filter `{name}` with something other than a constant").format(name=node.name)


def _calls_known_method(node: "nodes.Call") -> bool:
    from jinja2 import nodes

    return isinstance(node.node, nodes.Getattr) and node.node.attr in METHODS


def _takes_only_constants(node: "nodes.Filter") -> bool:
    from jinja2 import nodes

    arguments = [*node.args, *(pair.value for pair in node.kwargs)]
    return not node.dyn_args and not node.dyn_kwargs and all(isinstance(each, nodes.Const) for each in arguments)


def _template_value(column: str, value: Any) -> Any:
    """Return a value as templates see it, a whole number without `.0`; raises BadValueError for an error cell."""
    value = decode_raw(value)
    if isinstance(value, BadCell):
        raise BadValueError(_("uses `{column}`, which {reason}").format(column=column, reason=value.reason))
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_EXACT else value


def _rendered_text(value: Any) -> str:
    """Return what stands for a value in the text; a list is written as Python does."""
    if isinstance(value, BuiltinMethodType):
        name = value.__name__
        raise BadValueError(
            _("`{name}` is a method; write `{name}()` to call it, or `['{name}']` for a key").format(name=name)
        )
    if isinstance(value, (Iterator, ItemsView, KeysView, ValuesView)):
        value = list(value)
    return str(value) if isinstance(value, (list, tuple, dict)) else as_text(value)


@cache
def _environment() -> "Environment":
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, finalize=_rendered_text
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.filters["parsed"] = parse_container
    environment.filters["tojson"] = lambda value: msgspec.json.encode(value).decode()
    return environment


@cache
def _compile_template(template: str) -> "Template":
    from jinja2 import nodes

    environment = _environment()
    tree = environment.parse(template)
    for loop in tree.find_all(nodes.For):  # over a value that is not there as over an empty list
        missing = nodes.Test(loop.iter, "none", [], [], None, None, lineno=loop.lineno)
        loop.iter = nodes.CondExpr(missing, nodes.Tuple([], "load"), loop.iter, lineno=loop.lineno)
    tree.set_environment(environment)
    return environment.from_string(tree)
