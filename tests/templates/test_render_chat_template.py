"""The program that renders a chat template: how it is asked, and how it ends; test_chat_templates.py has the rest."""

import json
import subprocess
import sys

from ftbridge.templates import render_chat_template


def test_chat_template_script_answers_in_json_and_fails_without_an_answer():
    argv = [sys.executable, "-I", render_chat_template.__file__]
    for template, answer in (("{{ bos_token }}好", '"<s>\\u597d"'), ("{{ no.such.thing }}", "")):
        request = {"template": template, "messages": [], "tokens": {"bos_token": "<s>"}, "prompt": True}
        done = subprocess.run(argv, input=json.dumps(request), capture_output=True, text=True, check=False)
        assert (done.stdout, bool(done.returncode)) == (answer, not answer)
