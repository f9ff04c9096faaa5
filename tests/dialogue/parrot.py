"""Serve the page with conversations that repeat what they are told: `python parrot.py COLUMN...`."""

import re
import sys
import time
from contextlib import nullcontext

from ftbridge.core.errors import InputError
from ftbridge.dialogue.generation import Sampling
from ftbridge.dialogue.web import serve


class Parrot:
    """Stands for a Talk: says how it was asked, word by word."""

    def __init__(self, title):
        self.title, self.system, self.sampling, self.turns = title, "You are a parrot.", Sampling(), []
        self.interrupted = False

    def interrupt(self):
        self.interrupted = True

    def say(self, question):
        if question == "too long":
            raise InputError("the model takes <b>5</b> tokens")
        turn = sum(bool(answer) for _, answer in self.turns) + 1
        said = f"{self.title}, turn {turn}, {self.system} seed {self.sampling.seed}: {question}"
        for piece in re.findall(r"\s*\S+\s*", said + " and on" * 100_000 if question == "never ends" else said):
            yield piece
            time.sleep(0.02)
            if self.interrupted:
                self.interrupted = False
                return


if __name__ == "__main__":
    serve(nullcontext([Parrot(title) for title in sys.argv[1:]]))
