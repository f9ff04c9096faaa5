"""Render a model's own chat template: one request as JSON on stdin, its text, or null, as JSON on stdout.

A template may come from anywhere and can be made to run or to grow without an end, which no sandbox of Jinja notices:
so it is rendered in a process of its own, with the time and the memory that an honest one needs many times over. It is
set up as transformers does it (utils/chat_template_utils.py), without any file.
"""

import json
import resource
import sys
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS, MEMORY_BYTES = 4, 1 << 30


class Generation(Extension):
    """The tag {% generation %}, which marks answers for a training and writes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what stands within the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment() -> ImmutableSandboxedEnvironment:
    """Return the environment that transformers renders a chat template in."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005 - transformers' own
    return made


def render(request: dict[str, Any]) -> str:
    """Return the conversation as the template writes it; raises whatever Jinja does."""
    variables = {"tools": None, "documents": None, **request["tokens"]}
    template = environment().from_string(request["template"])
    return template.render(messages=request["messages"], add_generation_prompt=request["prompt"], **variables)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    known = {key: options[key] for key in ("indent", "separators", "sort_keys") if key in options}
    return json.dumps(value, ensure_ascii=ensure_ascii, **known)


def _raise_exception(message: str) -> None:
    raise ValueError(message)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.stdout.write(json.dumps(render(json.load(sys.stdin))))
