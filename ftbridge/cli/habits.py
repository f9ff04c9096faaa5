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
    ("train", "warmup_steps"): _("`--warmup-ratio` is a share of the steps"),
}
YES_NO = {"true", "false"}
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
    if not any(_is_unknown(word, known) or word.lower() in YES_NO for word in args):
        return args
    from ftbridge.core.parsing.suggestions import SAME, normal
    from ftbridge.launchers.backends.other_configs.llamafactory import ARGUMENTS, FLAGS

    trains = "--micro-batch-size" in known
    kept, theirs, words = list[str](), dict[str, str](), deque(args)
    while words:
        word = words.popleft()
        name, equals, value = word.partition("=")
        if word == "--":
            return [*_translated(theirs), *kept, word, *words]
        if not _is_unknown(word, known):
            opposites = known[name].secondary_opts if name in known else []
            if opposites and words and words[0].lower() in YES_NO:  # `--packing true`
                kept.append(word if words.popleft().lower() == "true" else opposites[0])
                continue
            kept.append(word)
            if name in known and not known[name].is_flag and not equals and words:
                kept.append(words.popleft())
            continue
        # An option of the same name, or of another with the same meaning.
        names = (f"--{each.replace('_', '-')}" for each in (name[2:], SAME.get(normal(name), "")))
        ours = next((each for each in names if each in known), "")
        if trains and normal(name) in ARGUMENTS and ours != f"--{name[2:].replace('_', '-')}":
            takes_value = not equals and words and not words[0].startswith("--")
            if not takes_value and not value and normal(name) not in FLAGS:
                raise click.BadOptionUsage(name, _("option `{name}` takes a value").format(name=name))
            theirs[name] = words.popleft() if takes_value else value or "true"
        else:
            kept.append(f"{ours or name}{equals}{value}")
            if ours and not known[ours].is_flag and not equals and words:
                kept.append(words.popleft())
    return [*_translated(theirs), *kept]


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
    elif "--set" in known:
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
