"""Write a model of random weights, made on a GPU in seconds: `python random_model.py FOLDER DEVICE`.

Runs in the training environment. FOLDER has config.json and a tokenizer. Weights are bfloat16, in files of about 4 GB.
The rows of the output layer are zeros but for tokens of ASCII letters, so that an answer is text, and ends at its
greatest length only.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

FILE_SIZE = 4 * 1000**3


def answer_tokens(folder: Path) -> list[int]:
    """Return the tokens that an answer may have."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    known = tokenizer.get_vocab()
    return [number for token, number in known.items() if token.isascii() and number not in tokenizer.all_special_ids]


def random_weights(name: str, shape: torch.Size, device: str) -> torch.Tensor:
    """Return what a tensor of that name begins with in a training from scratch."""
    if len(shape) == 1:
        return torch.full(shape, 0.0 if name.endswith(".bias") else 1.0, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(std=0.02)


def main() -> None:
    """Write the files and their index."""
    folder, device = Path(sys.argv[1]), sys.argv[2]
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: each.shape for name, each in AutoModelForCausalLM.from_config(config).state_dict().items()}
    output = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    files: list[dict[str, torch.Tensor]] = [{}]
    places: dict[str, str] = {}
    size = total = 0
    for name, shape in shapes.items():
        tensor = random_weights(name, shape, device)
        if name == output:
            silent = torch.ones(shape[0], dtype=torch.bool)
            silent[answer_tokens(folder)] = False
            tensor[silent.to(tensor.device)] = 0
        files[-1][name] = tensor.cpu()
        size += tensor.nbytes
        total += tensor.nbytes
        places[name] = f"model-{len(files):05d}.safetensors"
        if size > FILE_SIZE:
            save_file(files[-1], folder / places[name], metadata={"format": "pt"})
            files[-1].clear()
            files.append({})
            size = 0
    if files[-1]:
        save_file(files[-1], folder / f"model-{len(files):05d}.safetensors", metadata={"format": "pt"})
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


if __name__ == "__main__":
    main()
