"""The chat template that a training, and all that asks the model afterwards, renders conversations with."""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

import jinja2
import msgspec
from jinja2 import meta, nodes

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.templates.chat_templates import read_chat_template
from ftbridge.templates.render_chat_template import environment

Thinking = Literal["on", "off"]
TEMPLATE_FILE = "chat_template.jinja"  # as transformers calls it
# What templates call the switch for a model's thoughts: Qwen 3, GLM 4.5, SmolLM 3 and Nemotron; DeepSeek V3.1, Granite.
SWITCHES = ("enable_thinking", "thinking")
LONGEST = 1 << 16  # bytes of JSON, as a script is given it; the longest of a published model has a quarter of that


class ChatTemplate(msgspec.Struct, frozen=True):
    """A chat template whose text decides all but messages and tools.

    `origin` says in words where it comes from. `thinking` is what its switch for thoughts stands at, None where it has
    none. It can be rendered by any program without further settings.
    """

    text: str
    origin: str
    thinking: Thinking | None

    def with_thinking(self, thinking: Thinking) -> Self:
        """Return the template with its switch for thoughts at `thinking`; without a switch, the template as it is.

        Raises InputError where the text is no template.
        """
        text = self.text
        for name in SWITCHES:  # what was decided before
            for value in ("true", "false"):
                text = text.removeprefix(_decide(name, value))
        if not (switches := _switches(text, self.origin)):
            return self
        decided = "".join(_decide(name, str(thinking == "on").lower()) for name in switches)
        return msgspec.structs.replace(self, text=decided + text, thinking=thinking)

    def without_thoughts(self) -> Self:
        """Return the template as one for which thoughts are decided to be off, also where it has no switch for them."""
        if self.thinking:
            return self
        return msgspec.structs.replace(self, text=_decide(SWITCHES[0], "false") + self.text)

    @property
    def sha256(self) -> str:
        """Return the sha256 of the text, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def _decide(name: str, value: str) -> str:
    """Return Jinja that sets a variable where nobody has."""
    return f"{{%- if {name} is not defined %}}{{%- set {name} = {value} %}}{{%- endif -%}}"


def shipped() -> list[str]:
    """Return the names of the chat templates that come with ftbridge."""
    found = files("ftbridge.templates").joinpath("chat").iterdir()
    return sorted(each.name.removesuffix(".jinja") for each in found if each.name.endswith(".jinja"))


def choose_chat_template(
    model: Path, wanted: str | None, thinking: Thinking | None, folder: Path = Path()
) -> ChatTemplate:
    """Return the chat template of the model in a folder, or that `wanted`: a file, or the name of a shipped one.

    Its switch for thoughts is set to `thinking`; None leaves it to the template. A file's name counts from `folder`,
    by default the current one. Raises UsageError where there is
    none, InputError for what is no template.
    """
    if wanted is None:
        text, origin = read_chat_template(model), _("the chat template of `{name}`").format(name=model.name)
        if not text:
            raise UsageError(
                _("`{model}` has no chat template; name one with `--chat-template`: a Jinja file, or {listed}").format(
                    model=model, listed=_listed()
                )
            )
    elif wanted in shipped():
        text = files("ftbridge.templates").joinpath("chat", f"{wanted}.jinja").read_text("utf-8")
        origin = _("the chat template `{wanted}`").format(wanted=wanted)
    elif (file := folder / Path(wanted).expanduser()).is_file():
        text, origin = read_text(file, _("chat template")), _("the chat template `{wanted}`").format(wanted=wanted)
    else:
        raise UsageError(
            _("`--chat-template` takes a Jinja file, or {listed}; there is no file `{wanted}`{hint}").format(
                listed=_listed(), wanted=wanted, hint=closest(wanted, shipped())
            )
        )
    _switches(text, origin)
    template = ChatTemplate(text, origin, None)
    return template.with_thinking(thinking) if thinking else template


def _listed() -> str:
    return joined(", ", (f"`{name}`" for name in shipped()))


class _Names(meta.TrackingCodeGenerator):
    """Finds the variables that a template asks for, and computes nothing that it writes.

    Jinja's own way (`meta.find_undeclared_variables`) works out what is constant, such as `'a' * 10**10`.
    """

    def __init__(self, template: nodes.Template) -> None:
        super().__init__(environment())
        self.optimizer = None
        for setting in template.find_all(nodes.EvalContextModifier):
            setting.options = []
        self.visit(template)

    def _output_child_to_const(self, *_: object) -> str:
        raise nodes.Impossible


def _switches(text: str, origin: str) -> list[str]:
    """Return the switches for thoughts that a template asks for; raises InputError where it is none."""
    if len(msgspec.json.encode(text)) > LONGEST:
        raise InputError(
            _("{origin} has {count:,} characters, which is more than any model's; is it another file?").format(
                origin=origin, count=len(text)
            )
        )
    try:
        asked = _Names(environment().parse(text)).undeclared_identifiers
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            _("{origin} is not a Jinja template: line {lineno}: {message}").format(
                origin=origin, lineno=error.lineno, message=error.message
            )
        ) from error
    except (RecursionError, ValueError) as error:  # brackets without an end; a number of thousands of digits
        raise InputError(_("{origin} is not a Jinja template: {error}").format(origin=origin, error=error)) from error
    return [name for name in SWITCHES if name in asked]
