"""How commands and options look and complete, and the options that several commands have.

A help is the usage, a sentence, the options under headings, and two examples. An option's line is its names, its
metavar (DIR, FILE, NAME, N), what it means, and `[default: VALUE]`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ftbridge.cli.help_text import Context, write_row
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Decorator = Callable[[Decorated], Decorated]
Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
# Letters of the column of options, and of choices as a metavar; in a narrow terminal the column is a third.
COLUMN = 30
# Parameters of `reading_options`, for a heading.
READING = "sheet all_sheets header_row fill_merged as_shown encoding delimiter quote"


class Choice(click.Choice):  # type: ignore[type-arg]  # click before 8.2 takes none
    """One of several words, with the one that may be meant by another."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return what is wrong with a word."""
        from ftbridge.core.parsing.json_yaml import nearest

        hint = nearest(str(value), self.choices)
        return super().get_invalid_choice_message(value, ctx).rstrip(".。") + hint


DEVICES = Choice(["auto", "cuda", "cpu"])


class Option(click.Option):
    """An option whose line in the help is the same with every click: without ranges, and with one style of defaults."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the names with the metavar, and the help with the default."""
        del ctx
        metavar = "" if self.is_flag else f" {self._metavar()}"
        names = [*sorted(self.opts, key=len), *self.secondary_opts]
        separator = " / " if self.secondary_opts else ", "
        default = self._shown_default()
        shown = _("[default: {default}]").format(default=default) if default else ""
        parts = filter(None, (self.help, self._list_of_choices(), shown))
        return separator.join(names) + metavar, " ".join(parts)

    def _metavar(self) -> str:
        if self.metavar:
            return self.metavar
        if isinstance(self.type, click.Choice | PluginName):
            return "NAME" if self._list_of_choices() else "|".join(self.type.choices)
        if isinstance(self.type, click.types.IntParamType):
            return "N"
        if isinstance(self.type, click.types.FloatParamType):
            return "NUMBER"
        return "DIR" if isinstance(self.type, click.Path) else "TEXT"

    def _list_of_choices(self) -> str:
        """Return the choices that are too long for a metavar."""
        names = self.type.choices if isinstance(self.type, click.Choice | PluginName) and not self.metavar else []
        return _("One of {names}.").format(names=joined(", ", names)) if len("|".join(names)) > COLUMN else ""

    def _shown_default(self) -> str:
        if isinstance(self.show_default, str):
            return self.show_default
        if isinstance(self.default, bool):
            return "on" if self.default else ""
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return str(self.default) if isinstance(self.default, str | int) else ""


class Command(click.Command):
    """A command whose help has its options under `headings` (names of parameters by title), and ends with examples."""

    context_class = Context

    def __init__(
        self,
        *arguments: Any,
        headings: Mapping[str, str] | None = None,
        examples: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """Make a command; what no heading names stands last, under "Options"."""
        for text in {"help", "short_help"} & settings.keys():
            settings[text] = translated(settings[text])
        super().__init__(*arguments, **settings)
        self.headings = {_(title): names.split() for title, names in (headings or {}).items()}
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, those too that have the names of other programs; suggests what others may mean."""
        from ftbridge.cli.habits import say_unknown_option, understood

        if not (ctx.resilient_parsing or isinstance(self, click.Group)):
            args = understood(self, args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise say_unknown_option(self, error) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, the terms on lines of their own where the terminal is narrow."""
        records = {
            str(param.name): param.get_help_record(ctx)
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
        }
        named = {name for names in self.headings.values() for name in names}
        sections = {**self.headings, _("Options"): [name for name in records if name not in named]}
        widest = max(len(record[0]) for record in records.values() if record)
        column = min(widest, COLUMN, formatter.width // 3)
        for title, names in sections.items():
            if rows := [record for name in names if (record := records[name])]:
                with formatter.section(title):
                    for row in rows:
                        write_row(formatter, *row, column)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, a line each."""
        del ctx
        if self.examples:
            with formatter.section(_("Examples")):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Group(Command, click.Group):
    """A command of several, whose help ends with examples as well."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order a user meets them."""
        del ctx
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the command that may be meant by one that is not there; a shell that completes is told nothing."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            from ftbridge.cli.habits import say_unknown_command

            ctx.fail(say_unknown_command(args[0], list(self.commands)))
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class PluginName(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 takes none
    """The name of a plugin that is installed, a third party's as well; looked up when it is needed."""

    name = "name"

    def __init__(self, family: str) -> None:
        """Take the names of a family of plugins, such as `backends`."""
        self.family = family

    @property
    def choices(self) -> list[str]:
        """Return the names."""
        from ftbridge.core.plugins import plugin_names

        return plugin_names(self.family)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name; fails with the closest for one that is not there."""
        from ftbridge.core.parsing.json_yaml import closest
        from ftbridge.core.parsing.suggestions import normal
        from ftbridge.core.plugins import NAMES

        for choice in self.choices:  # `LLaMA-Factory` is llamafactory
            if normal(str(value)).replace("_", "") == choice.replace("_", ""):
                return choice
        if value not in self.choices:
            self.fail(
                _("there is no {kind} `{value}`{hint}").format(
                    kind=_(NAMES[self.family]), value=value, hint=closest(value, self.choices)
                ),
                param,
                ctx,
            )
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Return the names that begin so."""
        return completer_of(lambda _: self.choices)(ctx, param, incomplete)


def completer_of(names: Callable[[click.Context], Iterable[str]], paths: str = "") -> Complete:
    """Return what completes a word to one of `names`, or to `paths` (file, dir): in silence, whatever is wrong here."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        from ftbridge.core.errors import FtbridgeError

        try:
            found = [CompletionItem(name) for name in names(ctx) if name.startswith(incomplete) and name.isprintable()]
        except (FtbridgeError, OSError):
            found = []
        # First, for bash forgets what stands before it.
        return [CompletionItem(incomplete, type=paths), *found] if paths else found

    return complete


def _run_ids(_ctx: click.Context) -> list[str]:
    """Return what runs are called, those with names first."""
    from ftbridge.core.project import Project
    from ftbridge.launchers.runs.record import run_names

    names = run_names(Project.find())
    return [*filter(None, names.values()), *sorted(names, reverse=True), *(["last"] if names else [])]


def _dataset_names(ctx: click.Context) -> list[str]:
    from ftbridge import datasets
    from ftbridge.core.parsing.json_yaml import read_json
    from ftbridge.dataset_info.registry import FILE

    # Read as it stands: nobody's conversion is finished by pressing Tab.
    return list(read_json(datasets.folder(ctx.params.get("dataset_dir")) / FILE))


def _family_names(_ctx: click.Context) -> list[str]:
    from ftbridge.templates.families import load_families

    return list(load_families())


def _sweep_names(_ctx: click.Context) -> list[str]:
    from ftbridge.core.project import Project

    return sorted(file.parent.name for file in Project.find().folder.glob("sweeps/*/sweep.json"))


def _preset_names(_ctx: click.Context) -> list[str]:
    from ftbridge.dataset_info.presets import presets

    return list(presets())


complete_run = completer_of(_run_ids)
complete_run_or_folder = completer_of(_run_ids, "dir")
complete_folder = completer_of(lambda _: (), "dir")
complete_file = completer_of(lambda _: (), "file")
complete_dataset = completer_of(_dataset_names)
complete_family = completer_of(_family_names)
complete_preset = completer_of(_preset_names)
complete_sweep = completer_of(_sweep_names, "dir")
complete_run_or_sweep = completer_of(lambda ctx: [*_run_ids(ctx), *_sweep_names(ctx)], "dir")


def translated(docstring: str | None) -> str | None:
    """Return the help of a command, which is its docstring, in the user's language."""
    return _(inspect.cleandoc(docstring)) if docstring else docstring


def option(*declarations: str, **settings: Any) -> Decorator[Any]:
    """Return click's decorator that adds an Option."""
    return click.option(*declarations, cls=Option, **settings)


def options(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Return one decorator that adds several options, in their order."""

    def add(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return add


source_argument = click.argument("source", metavar="[RUN|DIR]", required=False, shell_complete=complete_run_or_folder)
json_option = option("--json", "as_json", is_flag=True, help=_("Print the result as JSON, and nothing else on stdout."))
yes_option = option("--yes", is_flag=True, help=_("Remove without asking."))
checkpoint_option = option(
    "--checkpoint", metavar="last|best|STEP|PATH", show_default="last",
    help=_("Checkpoint of the run; best has the lowest validation loss, STEP counts optimizer steps."),
)  # fmt: skip
model_option = option(
    "--model", metavar="BASE", shell_complete=complete_folder,
    help=_("Base model, if it is not known, or to use another one: a folder, or a hub's name."),
)  # fmt: skip
device_option = option(
    "--device", type=DEVICES, default="auto", help=_("Where to compute; auto: on a GPU where there is one.")
)
bits_option = option(
    "--bits", type=Choice(["4", "8"]),
    callback=lambda _context, _option, value: value and int(value),
    help=_("Quantise the model to 4 or 8 bits (bitsandbytes), on the CPU as well."),
)  # fmt: skip
dtype_option = option(
    "--dtype", type=Choice(["auto", "float32", "bfloat16", "float16"]), default="auto",
    help=_("Dtype of the weights; auto: the model's own, float16 for bfloat16 on a GPU without "
        "it."),
)  # fmt: skip
max_new_tokens_option = option(
    "--max-new-tokens", type=click.IntRange(1, 2**31 - 1), default=512, help=_("Longest answer, in tokens.")
)
thinking_option = option(
    "--thinking", type=Choice(["auto", "on", "off"]), default="auto",
    help=_("Thoughts before an answer; auto: as in the training."),
)  # fmt: skip
trust_option = option("--trust-remote-code", is_flag=True, help=_("Run Python code that comes with the model."))
template_option = option(
    "--template", metavar="FAMILY", shell_complete=complete_family, show_default=_("detected from the model's files"),
    help=_("Model family, whose prompt is used."),
)  # fmt: skip
result_jsonl_option = option(
    "--result-jsonl", is_flag=True, help=_("Write result.jsonl as well: messages and answer of a sample per line.")
)
config_option = option(
    "--config", type=click.Path(), metavar="FILE", show_default="ftbridge.yaml", help=_("File of settings.")
)


def out_option(default: str) -> Decorator[Any]:
    """Return the option for the folder that is written."""
    return option(
        "--out",
        type=click.Path(),
        shell_complete=complete_folder,
        show_default=default,
        help=_("Folder to write; it must be new."),
    )


def dataset_dir_option(default: str) -> Decorator[Any]:
    """Return the option for the folder of datasets."""
    return option(
        "--dataset-dir", type=click.Path(file_okay=False), show_default=default,
        help=_("Folder with dataset_info.json, such as LLaMA-Factory's data."),
    )  # fmt: skip


def _parse_header_row(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None or value == "none":
        return None if value is None else 0
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(
            _("`{value}` is not a row number; give a number from 1 on, or `none`").format(value=value)
        )
    return int(value)


reading_options = options(
    option(
        "--sheet", multiple=True, metavar="NAME",
        help=_("Sheet of a workbook; repeatable. Without it, convert takes the sheets that fit, "
        "inspect all."),
    ),
    option("--all-sheets", is_flag=True, help=_("Read every sheet that is not hidden.")),
    option(
        "--header-row", metavar="N|none", callback=_parse_header_row, show_default=_("detected"),
        help=_("Row of the headers, from 1; none: no headers, columns are named by letter or number."),
    ),
    option("--fill-merged", is_flag=True, help=_("Give all cells of a merged range its value.")),
    option("--as-shown", is_flag=True, help=_("Read cells as Excel shows them (25%), not as stored; slower.")),
    option("--encoding", default="", metavar="NAME", show_default=_("detected"), help=_("Encoding of text files.")),
    option(
        "--delimiter", default="", metavar="CHARACTER", show_default=_("detected"),
        help=_("Character between cells of a text file: `;`, or tab, comma, semicolon, pipe, space."),
    ),
    option(
        "--quote", default="", metavar="CHARACTER|none", show_default=_("detected"),
        help=_("Character around cells of a text file; none: quotes are text."),
    ),
)  # fmt: skip

answering_options = options(
    max_new_tokens_option,
    thinking_option,
    option("--batch-size", type=click.IntRange(1), show_default=_("by the samples' length"),
        help=_("Samples per batch.")),
    option("--limit", type=click.IntRange(1), help=_("Number of samples to answer, from the first.")),
    option(
        "--engine", type=Choice(["auto", "transformers", "vllm"]), default="auto",
        help=_("What computes the answers; auto is vLLM where ftbridge.yaml names a Python that has "
        "it."),
    ),
    bits_option,
    dtype_option,
    device_option,
    trust_option,
    option("--replace", is_flag=True, help=_("Answer all samples again, also those that were answered before.")),
)  # fmt: skip
