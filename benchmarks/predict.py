"""What batches gain: `python benchmarks/predict.py [ROUNDS]`, on any machine with the training environment.

Prints the time to answer some dozen prompts as the tutorial on news classification does it, one by one, and as
`ftbridge predict` does, in turns on the same model, a Qwen2 with random weights in float32 and a LoRA adapter on all
its linear layers; the median of ROUNDS, loading left out. It fails where the answers are not the same.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.templates.detect import detect_family
from ftbridge.templates.families import get_family
from ftbridge.weights.card import ModelCard

PYTHON = default_folder() / "bin" / "python"
SYSTEM = "你是一个文本分类领域的专家，你会接收到一段文本和几个潜在的分类选项，请输出文本内容的正确类型"
CLASSES = ["Politics", "Sports", "Economy", "Computer"]
SAMPLES, NEW_TOKENS = 24, 8
SHAPE = {"hidden": 512, "layers": 18, "vocabulary": 8000}  # 50 million parameters

ADAPTER = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
config = LoraConfig(task_type="CAUSAL_LM", target_modules=modules, r=8, lora_alpha=32, lora_dropout=0.1)
model = get_peft_model(model, config)
for name, weight in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(weight, std=0.02)
model.save_pretrained(sys.argv[2])
"""

# The tutorial's loop, with the device, the dtype, the length of answers and the two ends changed: a round begins with a
# line on stdin, and ends with a line on stdout.
ONE_BY_ONE = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

mode_path, lora_path, jsonl_file, new_tokens = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(mode_path)
model = AutoModelForCausalLM.from_pretrained(mode_path, torch_dtype=torch.float32)
model = PeftModel.from_pretrained(model, model_id=lora_path)
print("ready", flush=True)
for _ in sys.stdin:
    responses = []
    with open(jsonl_file, 'r') as file:
        for line in file:
            data = json.loads(line)
            context = data["text"]
            catagory = data["category"]
            prompt = f'文本:{context},类型选型:{catagory}'
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": prompt}
            ]

            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

            model_inputs = tokenizer([text], return_tensors="pt")

            generated_ids = model.generate(
                model_inputs.input_ids,
                max_new_tokens=int(new_tokens)
            )
            generated_ids = [
                output_ids[len(input_ids):] for input_ids, output_ids in zip(model_inputs.input_ids, generated_ids)
            ]

            response = tokenizer.batch_decode(generated_ids, skip_special_tokens=True)[0]
            responses.append(response)
    print(json.dumps(responses), flush=True)
""".replace("SYSTEM", repr(SYSTEM))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _news_samples()
        (folder / "test.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        base = base_model(
            folder / "base", PYTHON, [SYSTEM, *(f"{row['text']} {row['category']}" for row in rows)], **SHAPE
        )
        subprocess.run([PYTHON, "-c", ADAPTER, base, folder / "adapter"], check=True, stderr=subprocess.DEVNULL)
        argv = [PYTHON, "-c", ONE_BY_ONE, base, folder / "adapter", folder / "test.jsonl", str(NEW_TOKENS)]
        card = _model_card(base)
        with (
            subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as child,
            Generator(PYTHON, card, base, folder / "adapter", (), Loading(dtype="float32")) as generator,
        ):
            child.stdout.readline()
            methods = {
                "one by one": lambda: _answer_one_by_one(child),
                "ftbridge": lambda: _answer_in_batches(generator, card, rows),
            }
            seconds: dict[str, list[float]] = {method: [] for method in methods}
            for _ in range(rounds):
                answers = {}
                for method, answer in methods.items():
                    start = time.perf_counter()
                    answers[method] = answer()
                    seconds[method].append(time.perf_counter() - start)
                    print(f"{method} {seconds[method][-1]:.2f} s", flush=True)
                if answers["one by one"] != answers["ftbridge"]:
                    raise SystemExit("the answers are not the same")
            child.stdin.close()
    medians = {method: statistics.median(each) for method, each in seconds.items()}
    print(f"\n{SAMPLES} prompts, answers of {NEW_TOKENS} tokens, all the same both ways, median of {rounds} rounds")
    for method, each in medians.items():
        print(f"{method:<11} {each:6.2f} s")
    print(f"ratio       {medians['one by one'] / medians['ftbridge']:6.2f}")


def _news_samples() -> list[dict[str, object]]:
    """Return texts of Chinese letters drawn at random: about a token each, and never twice the same."""
    drawn = random.Random(0)  # noqa: S311 - nothing secret
    letters = [chr(0x4E00 + number) for number in range(500)]
    lengths = [drawn.randint(30, 250) for _ in range(SAMPLES)]
    return [{"text": "".join(drawn.choices(letters, k=length)), "category": CLASSES} for length in lengths]


def _model_card(base: Path) -> ModelCard:
    family = detect_family(base)
    return ModelCard(
        base=str(base),
        family=family.name,
        backend="xtuner",
        template=msgspec.to_builtins(family.cell("xtuner").prompt),
        system=SYSTEM,
        thinking=family.thinking,
    )


def _answer_one_by_one(child: subprocess.Popen[str]) -> list[str]:
    child.stdin.write("go\n")
    child.stdin.flush()
    return json.loads(child.stdout.readline())


def _answer_in_batches(generator: Generator, card: ModelCard, rows: list[dict[str, object]]) -> list[str]:
    turns = [[(f"文本:{row['text']},类型选型:{row['category']}", None)] for row in rows]
    prompts = [card.prompt.segments(SYSTEM, each) for each in turns]
    found = generator.batch(prompts, get_family(card.family).stop, Sampling(max_new_tokens=NEW_TOKENS))
    return [each.text for each in sorted(found)]


main()
