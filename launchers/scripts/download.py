"""Download a model from Hugging Face or ModelScope and print its folder as the last line.

Runs inside the training environment: `python download.py SPEC` with SPEC as JSON: `hub` ("hf" or "ms"), `name`,
`weights` (whether they are wanted), and `obeyed`, a pattern of the characters that stderr shows as escapes.
The hubs' own clients do the work, with their progress bars, caches, tokens and endpoints (HF_ENDPOINT,
MODELSCOPE_DOMAIN).
"""

import json
import os
import re
import sys
from typing import Any

# Weights in formats that neither framework reads.
IGNORED_PATTERNS = ["*.gguf", "*.onnx", "*.h5", "*.msgpack", "*.ot", "original/*", "onnx/*", "*.tflite"]
# Names that lead out of the folder, or are not to be shown: ModelScope's client would write to where they lead, and
# Hugging Face's refuses them itself.
OUTSIDE_PATTERNS = ["/*", "../*", "*/../*", "*/..", "*\\*", "[A-Za-z]:*", "*[\x00-\x1f\x7f-\x9f\ud800-\udfff]*"]
WEIGHT_PATTERNS = ["*.safetensors", "*.bin", "*.pt", "*.pth"]
# What tokenizers and configs are kept in.
CONFIG_PATTERNS = ["*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.py"]


class EscapedStream:
    """A stream on which no terminal obeys what a hub says: the characters that `obeyed` matches become escapes.

    tqdm goes back to the line's start, and up between its bars, in writes of their own.
    """

    def __init__(self, stream: Any, obeyed: str) -> None:
        """Write to `stream`."""
        self._stream, self._obeyed = stream, re.compile(obeyed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write `text` with its control characters escaped."""
        if not re.fullmatch(r"(\x1b\[A)+", text):
            start = "\r" if text.startswith("\r") else ""
            line = text.removeprefix(start).rstrip("\r")
            text = start + self._obeyed.sub(lambda match: match[0].encode("unicode_escape").decode(), line)
        self._stream.write(text)


def from_hugging_face(name: str, *, weights: bool) -> str:
    """Return the folder that a model is downloaded to."""
    from huggingface_hub import HfApi, snapshot_download

    if not weights:
        return str(snapshot_download(name, allow_patterns=CONFIG_PATTERNS))
    # Where the hub has safetensors, the older pickled weights are not fetched.
    has_safetensors = any(file.endswith(".safetensors") for file in HfApi().list_repo_files(name))
    ignored = IGNORED_PATTERNS + (WEIGHT_PATTERNS[1:] if has_safetensors else [])
    return str(snapshot_download(name, ignore_patterns=ignored))


def from_modelscope(name: str, *, weights: bool) -> str:
    """Return the folder that a model is downloaded to."""
    from modelscope import snapshot_download

    patterns = {"ignore_patterns": IGNORED_PATTERNS + OUTSIDE_PATTERNS}
    if not weights:
        patterns["allow_patterns"] = CONFIG_PATTERNS
    return str(snapshot_download(name, **patterns))


def main() -> None:
    """Print the folder of the model that the spec names; what goes wrong is a sentence, not a traceback."""
    spec = json.loads(sys.argv[1])
    sys.stderr = EscapedStream(sys.stderr, spec["obeyed"])
    try:
        download = from_hugging_face if spec["hub"] == "hf" else from_modelscope
        folder = download(spec["name"], weights=spec["weights"])
    except Exception as error:  # noqa: BLE001 - the clients raise many kinds
        raise SystemExit(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}") from None
    sys.stdout.write("\n" + os.path.realpath(folder) + "\n")


if __name__ == "__main__":
    main()
