"""Serve the page with conversations that repeat what they are told: `python parrot_page.py COLUMN... [--OPTION ...]`.

What is asked is noted in asked.txt, a line each.
"""

import argparse
import re
import time
from contextlib import nullcontext
from pathlib import Path

from ftbridge.core.errors import FrameworkError, InputError
from ftbridge.dialogue.generation import Sampling
from ftbridge.dialogue.web import serve


class Parrot:
    """Stands for a ChatSession: says how it was asked, word by word."""

    def __init__(self, title, system):
        self.title, self.system, self.sampling, self.turns = title, system, Sampling(), []
        self.interrupted = False
        self.run, self.model = "20261129-<b>", "base"

    def interrupt(self):
        self.interrupted = True

    def say(self, question):
        with Path("asked.txt").open("a", encoding="utf-8") as file:
            file.write(f"{question}\n")
        if question == "too long":
            raise InputError("the model takes <b>5</b> tokens")
        if question == "die":
            raise FrameworkError("the model died")
        turn = sum(bool(answer) for _, answer in self.turns) + 1
        said = f"{self.title}, turn {turn}, {self.system} seed {self.sampling.seed}: {question}"
        for piece in re.findall(r"\s*\S+\s*", said + " and on" * 100_000 if question == "never ends" else said):
            yield piece
            time.sleep(0.02)
            if self.interrupted:
                self.interrupted = False
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("titles", nargs="+")
    parser.add_argument("--system", default="You are a parrot.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--allow-host", dest="allow_hosts", action="append", default=[])
    parser.add_argument("--password")
    options = vars(parser.parse_args())
    titles, system = options.pop("titles"), options.pop("system")
    serve(nullcontext([Parrot(title, system) for title in titles]), **options)
