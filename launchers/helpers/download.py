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


def main() -> None:
    """Download what the spec names."""
    spec = json.loads(sys.argv[1])
    # Where the hub has safetensors, the older pickled weights are not fetched.
    if spec["hub"] == "hf":
        from huggingface_hub import HfApi, snapshot_download

        files = HfApi().list_repo_files(spec["name"])
        pickles = ["*.bin", "*.pt", "*.pth"] if any(f.endswith(".safetensors") for f in files) else []
        folder = snapshot_download(spec["name"], ignore_patterns=IGNORED + pickles)
    else:
        from modelscope import snapshot_download

        folder = snapshot_download(spec["name"], ignore_patterns=IGNORED)
    sys.stdout.write("\n" + os.path.realpath(folder) + "\n")


if __name__ == "__main__":
    main()
