"""Download a model from Hugging Face or ModelScope and print its folder as the last line.

Runs inside the training environment: `python download.py '{"hub": "hf", "name": "owner/name"}'`. The hubs'
own clients do the work, with their progress bars, caches, tokens and endpoints (HF_ENDPOINT,
MODELSCOPE_DOMAIN).
"""

import json
import os
import sys

# Weights in formats that neither framework reads.
IGNORED = ["*.gguf", "*.onnx", "*.h5", "*.msgpack", "*.ot", "original/*", "onnx/*", "*.tflite"]


def from_hugging_face(name: str) -> str:
    """Return the folder of a model; without a network, of one that was downloaded before."""
    from huggingface_hub import HfApi, snapshot_download
    from requests import ConnectionError as NoConnectionError

    try:
        files = HfApi().list_repo_files(name)
    except NoConnectionError:
        return str(snapshot_download(name, local_files_only=True))
    # Where the hub has safetensors, the older pickled weights are not fetched.
    pickles = ["*.bin", "*.pt", "*.pth"] if any(file.endswith(".safetensors") for file in files) else []
    return str(snapshot_download(name, ignore_patterns=IGNORED + pickles))


def from_modelscope(name: str) -> str:
    """Return the folder of a model."""
    from modelscope import snapshot_download

    return str(snapshot_download(name, ignore_patterns=IGNORED))


def main() -> None:
    """Download what the spec names; what goes wrong is a sentence, not a traceback."""
    spec = json.loads(sys.argv[1])
    try:
        folder = (from_hugging_face if spec["hub"] == "hf" else from_modelscope)(spec["name"])
    except Exception as error:  # noqa: BLE001 - the clients raise many kinds
        raise SystemExit(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}") from None
    sys.stdout.write("\n" + os.path.realpath(folder) + "\n")


if __name__ == "__main__":
    main()
