"""What people type who know other programs: names of options that are taken as they are, and what others may mean."""

from collections import deque
from collections.abc import Mapping

import click

from ftbridge.language import gettext as _

# Options that have no counterpart, and what to do instead, by the command that would have them.
NOTHING_LIKE_IT = {
    ("train", "output_dir"): _("a run is written to runs/ID"),
    ("train", "out"): _("a run is written to runs/ID"),
    ("train", "output"): _("a run is written to runs/ID"),
    ("train", "val_size"): _("`ftbridge convert --split 9:1` makes a validation or test part"),
    ("prune", "dry_run"): _("`ftbridge runs prune` shows what would go, and asks before it removes anything"),
    ("predict", "metrics"): _("`ftbridge evaluate` answers and measures"),
    ("evaluate", "metrics"): _("all metrics that fit the answers are computed"),
    **{
        ("evaluate", option): _(
            "`ftbridge predict --questions FILE` answers the questions of a file; to measure with the answers in it, "
            "use `ftbridge convert FILE`, then `ftbridge evaluate --dataset NAME`"
        )
        for option in ("questions", "column")
    },
    ("train", "warmup_steps"): _("use `--warmup-ratio`, a share of the steps"),
    **{
        (command, option): _("name the folder of the adapter: `ftbridge {command} DIR`").format(command=command)
        for command in ("chat", "merge", "predict", "evaluate")
        for option in ("adapter", "adapter_name_or_path")
    },
}
YES_NO = {"true", "false"}
CONFIGS = (".yaml", ".yml", ".py")
# Commands that other programs have, and ours are more than one word.
COMMANDS = {
    "serve": "ftbridge chat --web",
    "server": "ftbridge chat --web",
    "web": "ftbridge chat --web",
    "webui": "ftbridge chat --web",
    "webchat": "ftbridge chat --web",
    "api": "ftbridge chat --web",
    "deploy": "ftbridge merge, ftbridge chat --web",
    "list": "ftbridge runs list, ftbridge datasets list",
    "ls": "ftbridge runs list, ftbridge datasets list",
    "logs": "ftbridge runs logs -f",
    "log": "ftbridge runs logs -f",
    "status": "ftbridge runs list",
    "stop": "ftbridge runs stop",
    "plot": "ftbridge runs plot",
    "version": "ftbridge --version",
    "list_cfg": "ftbridge recipe list",
}


def understood(command: click.Command, args: list[str]) -> list[str]:
    """Return the arguments with the names that the command has: `--lr` and `--learning_rate` are `--learning-rate`.

    Arguments of LLaMA-Factory's become options of a training, where the command has those. Raises UsageError for
    one that has no counterpart.
    """
    known = _options(command)
    if not any(_is_unknown(word, known) or word.lower() in YES_NO or word.endswith(CONFIGS) for word in args):
        return args
    return _Words(known, args, takes_config=command.name == "train").translate()


class _Words:
    """The words of a command line, from left to right; `theirs` are LLaMA-Factory's arguments with their values."""

    def __init__(self, known: dict[str, click.Option], args: list[str], *, takes_config: bool) -> None:
        self.known, self.words, self.takes_config = known, deque(args), takes_config
        self.kept, self.theirs = list[str](), dict[str, str]()

    def translate(self) -> list[str]:
        while self.words:
            word = self.words.popleft()
            name, equals, value = word.partition("=")
            if word == "--":
                self.kept += [word, *self.words]
                break
            if self.takes_config and not word.startswith("-") and word.endswith(CONFIGS):
                self.kept += ["--config", word]  # as `llamafactory-cli train FILE` and `xtuner train FILE` have it
            elif not _is_unknown(word, self.known):
                self._keep(name, equals + value)
            elif ours := self._option_for(name):
                self._keep(ours, equals + value)
            elif self._is_argument(name):
                self.theirs[name] = value or self._next_value(name)
            else:
                self.kept.append(word)
        return [*_translated(self.theirs), *self.kept]

    def _option_for(self, name: str) -> str:
        """Return the option that a name stands for, "" for none, and for an argument whose value means another."""
        from ftbridge.core.parsing.suggestions import SAME, normal

        spelled = f"--{name[2:].replace('_', '-')}"
        if spelled in self.known:
            return spelled
        same = f"--{SAME.get(normal(name), '').replace('_', '-')}"
        return same if same in self.known and not self._is_argument(name) else ""

    def _keep(self, option: str, value: str) -> None:
        """Keep an option with its value, which may be the next word: `--packing true` is `--packing`."""
        found = self.known.get(option)
        if found and found.secondary_opts and not value and self.words and self.words[0].lower() in YES_NO:
            self.kept.append(option if self.words.popleft().lower() == "true" else found.secondary_opts[0])
            return
        self.kept.append(option + value)
        if found and not found.is_flag and not value and self.words:
            self.kept.append(self.words.popleft())

    def _next_value(self, name: str) -> str:
        """Return the next word as the value of an argument, which some need not have."""
        from ftbridge.core.parsing.suggestions import normal
        from ftbridge.launchers.backends.other_configs.llamafactory import FLAGS

        if self.words and not self.words[0].startswith("--"):
            return self.words.popleft()
        if normal(name) not in FLAGS:
            raise click.BadOptionUsage(name, _("option `{name}` takes a value").format(name=name))
        return "true"

    def _is_argument(self, name: str) -> bool:
        """Tell whether a name is LLaMA-Factory's, where the command takes the options of a training."""
        from ftbridge.core.parsing.suggestions import normal
        from ftbridge.launchers.backends.other_configs.llamafactory import ARGUMENTS

        return "--micro-batch-size" in self.known and normal(name) in ARGUMENTS


def _options(command: click.Command) -> dict[str, click.Option]:
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}


def _is_unknown(word: str, known: dict[str, click.Option]) -> bool:
    name = word.partition("=")[0]
    return len(name) > 2 and name.startswith("--") and name != "--help" and name not in known  # noqa: PLR2004 - `--`


def _translated(theirs: Mapping[str, str]) -> list[str]:
    """Return arguments of LLaMA-Factory's as words; raises UsageError for those without a counterpart."""
    if not theirs:
        return []
    from ftbridge.core.errors import UsageError
    from ftbridge.core.parsing.suggestions import normal
    from ftbridge.launchers.backends.other_configs.llamafactory import translate_arguments
    from ftbridge.launchers.backends.other_configs.reading import as_words

    typed = {normal(name): name for name in theirs}
    found = translate_arguments({normal(name): value for name, value in theirs.items() if value != "null"})
    if found.left_out:
        lines = [
            _("`{name}` has no counterpart here: {why}").format(name=typed[key.partition(":")[0]], why=why)
            for key, why in found.left_out.items()
        ]
        raise UsageError("\n".join(lines))
    return as_words(found.options)


def say_unknown_option(command: click.Command, error: click.NoSuchOption) -> click.UsageError:
    """Return the error for an option that is not there, with those that may be meant."""
    from ftbridge.core.parsing.suggestions import meant, normal

    name = normal(error.option_name)
    known = [option for option in _options(command) if option.startswith("--")]
    instead = NOTHING_LIKE_IT.get((str(command.name), name))
    if instead:
        text = _("there is no option `{name}`: {why}").format(name=error.option_name, why=instead)
    elif near := meant(name, known):
        text = _("there is no option `{name}`; did you mean {near}?").format(
            name=error.option_name, near=_(" or ").join(f"`{each}`" for each in near)
        )
    elif {"--set", "--backend"} <= {*known}:
        text = _("there is no option `{name}`; `--set KEY=VALUE` passes one of the framework's own").format(
            name=error.option_name
        )
    else:
        text = _("there is no option `{name}`").format(name=error.option_name)
    return click.UsageError(text, error.ctx)


def say_unknown_command(word: str, known: list[str]) -> str:
    """Return the message for a command that is not there among these, with those that may be meant."""
    from ftbridge.core.parsing.json_yaml import closest
    from ftbridge.core.parsing.suggestions import normal

    if "train" in known and (commands := COMMANDS.get(normal(word))):
        near = _(" or ").join(f"`{each}`" for each in commands.split(", "))
        return _("there is no command `{word}`; did you mean {near}?").format(word=word, near=near)
    return _("there is no command `{word}`").format(word=word) + closest(word, known)
