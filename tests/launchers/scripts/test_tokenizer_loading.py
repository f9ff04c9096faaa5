"""Why a tokenizer cannot be loaded, in a sentence."""

import json
import shutil
import subprocess

import pytest

from ftbridge.launchers.process.script import SCRIPTS

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tokenizer_loading import TokenizerError, load_tokenizer
told = []
for model in sys.argv[2:]:
    try:
        told.append(type(load_tokenizer(model, trust_remote_code=False)).__name__)
    except TokenizerError as error:
        told.append(str(error))
print(json.dumps(told))
"""


@pytest.mark.framework
def test_a_tokenizer_is_loaded_or_it_is_said_why_not(training_python, project, tmp_path):
    whole, here, elsewhere, damaged = (shutil.copytree(project / "base", tmp_path / name) for name in "whed")
    config = json.loads((whole / "tokenizer_config.json").read_text()) | {"tokenizer_class": "Own"}
    for model, place in ((here, "tokenization_own.Own"), (elsewhere, "somebody/model--own.Own")):
        (model / "tokenizer.json").unlink()
        mapped = config | {"auto_map": {"AutoTokenizer": [place, None]}}
        (model / "tokenizer_config.json").write_text(json.dumps(mapped))
    (here / "tokenization_own.py").write_text("raise SystemExit('I ran')")
    (damaged / "tokenizer.json").write_text("{")
    argv = [training_python, "-c", SCRIPT, SCRIPTS, whole, here, elsewhere, damaged]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    own = "it comes with Python code of its own. If you trust who made it, add `--trust-remote-code`"
    first, *others, last = json.loads(done.stdout.splitlines()[-1])
    assert first == "Qwen2Tokenizer"
    assert others == [f"the tokenizer of `{model}` cannot be loaded: {own}" for model in (here, elsewhere)]
    assert last.startswith(f"the tokenizer of `{damaged}` cannot be loaded: ")
    assert "\n" not in last
