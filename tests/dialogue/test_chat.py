"""Talking to what was trained, and to what it was before."""

import contextlib
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.project import Project
from ftbridge.dialogue import chat
from ftbridge.dialogue.chat import ChatSession, chat_sessions, save_conversations
from ftbridge.dialogue.generation import Sampling
from ftbridge.launchers.environment import model_download
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.hardware import devices, host
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.process import script
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.templates.chat_templates import render_chat_template
from ftbridge.tokens.chat_template import choose_chat_template
from ftbridge.weights.card import card_of
from ftbridge.weights.source import resolve

from ..builders.chat_templates import FORGETS_THOUGHTS  # noqa: TID252
from ..builders.environments import make_environment  # noqa: TID252
from ..builders.models import write_model  # noqa: TID252
from ..builders.runs import record_run  # noqa: TID252
from ..builders.torch_files import save_pickled  # noqa: TID252

QUESTION = "what is aspirin taken for"
FEW = Sampling(max_new_tokens=12)


@pytest.fixture(scope="module")
def two(trained, project):
    """Return the conversations before and after a training, of one model."""
    with contextlib.chdir(project), chat_sessions(trained(backend="xtuner").id, compare=True, device="cpu") as found:
        yield found


@pytest.fixture
def before(two):
    two[0].reset()
    two[0].sampling = FEW
    return two[0]


@pytest.fixture
def after(two):
    two[1].reset()
    two[1].sampling = FEW
    return two[1]


def answer(talk: ChatSession, question: str = QUESTION) -> str:
    return "".join(talk.say(question))


@pytest.mark.framework
def test_base_and_trained_model_answer_with_separate_histories(before, after):
    assert (before.title, after.title) == ("before", "after")
    first = answer(after)
    assert first != answer(before)
    assert answer(after) is not None
    assert ([len(talk.turns) for talk in (before, after)], after.turns[0]) == ([1, 2], (QUESTION, first))
    after.reset()
    assert answer(after) == first
    assert after.system.startswith("You are a professional")
    assert after.finish == "length"


@pytest.mark.framework
def test_answers_before_training_are_those_of_the_base(before, in_project):
    with chat_sessions("base", system=before.system, sampling=FEW, device="cpu", template="qwen2.5") as (plain,):
        assert answer(plain) == answer(before)


@pytest.mark.framework
def test_a_stop_word_of_several_tokens_is_not_shown(after):
    pieces = list(after.say(QUESTION))
    assert len(pieces) > 5
    whole, word = "".join(pieces), "".join(pieces[2:5])
    after.reset()
    after.sampling = Sampling(max_new_tokens=12, stop_words=("never said", word))
    assert answer(after) == whole[: whole.index(word)]
    assert after.finish == "stop"


@pytest.mark.framework
def test_interrupted_answer_is_kept_as_far_as_it_came(after):
    after.sampling = Sampling(max_new_tokens=1000)
    pieces = after.say(QUESTION)
    begun = next(pieces)
    after.interrupt()
    begun += "".join(pieces)
    assert after.finish == "interrupted"
    assert after.turns == [(QUESTION, begun)]
    closed = after.say("and this")
    begun = next(closed)
    closed.close()
    assert after.turns[1:] == [("and this", begun)]
    after.reset()
    after.sampling = FEW
    assert len(answer(after)) > 1
    assert after.finish == "length"


@pytest.mark.framework
def test_retried_answer_replaces_the_last_one(after):
    after.sampling = Sampling(max_new_tokens=12, temperature=5.0, top_k=0, top_p=1.0)
    first = answer(after)
    second = "".join(after.retry())
    assert second != first
    assert after.turns == [(QUESTION, second)]
    after.reset()
    after.sampling = Sampling(max_new_tokens=12, temperature=5.0, top_k=0, top_p=1.0)
    assert answer(after) == first


@pytest.mark.framework
def test_a_repetition_penalty_changes_greedy_answers(after):
    plain = answer(after)
    after.reset()
    after.sampling = Sampling(max_new_tokens=12, repetition_penalty=0.01)
    assert answer(after) != plain


@pytest.mark.framework
def test_a_conversation_too_long_is_refused_and_the_next_is_answered(after):
    with pytest.raises(InputError, match="and the model takes 2048; begin a new one with /reset") as refused:
        answer(after, "aspirin " * 3000)
    tokens = int(re.search(r"has (\d+) tokens", str(refused.value))[1])
    after.reset()
    list(after.say("aspirin " * (3000 + 2048 - tokens - 4)))
    assert after.finish == "full"


@pytest.mark.framework
def test_saved_conversation_can_be_converted(after, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer(after)
    answer(after, "又如何？")
    file = save_conversations([after], "talk")
    ftbridge.convert(file)
    line = (tmp_path / "data" / "talk-train.xtuner.jsonl").read_bytes()
    turns = msgspec.json.decode(line)["conversation"]
    assert turns[0]["system"] == after.system
    assert [(turn["input"], turn["output"]) for turn in turns] == after.turns


@pytest.mark.framework
def test_merged_model_answers_without_its_base_but_is_not_compared(trained, in_project, tmp_path, after):
    merged = tmp_path / "merged"
    shutil.copytree(ftbridge.merge(trained(backend="xtuner").id), merged)
    card = msgspec.json.decode((merged / CARD).read_bytes()) | {"base": "/nowhere"}
    (merged / CARD).write_bytes(msgspec.json.encode(card))
    given = ftbridge.chat(merged, QUESTION, sampling=FEW, device="cpu", dtype="float32")
    assert given
    with pytest.raises(InputError, match=r"base model of .* cannot be found"), chat_sessions(merged, compare=True):
        pass


@pytest.mark.matrix
def test_two_models_are_compared_where_there_is_no_adapter(trained, in_project, tmp_path):
    merged = ftbridge.merge(trained(backend="xtuner").id, out=tmp_path / "merged")
    with chat_sessions(merged, compare=True, sampling=FEW, device="cpu") as found:
        before, after = map(answer, found)
    assert before != after


@pytest.mark.matrix
@pytest.mark.parametrize("bits", [4, 8])
def test_model_loaded_in_4_or_8_bits_answers_on_the_cpu(bits, trained, in_project):
    with chat_sessions(trained(backend="xtuner").id, compare=True, sampling=FEW, device="cpu", bits=bits) as found:
        assert all(map(answer, found))


@pytest.mark.matrix
def test_foreign_adapter_without_a_chat_template_answers_with_a_named_family(trained, in_project, tmp_path):
    exported = ftbridge.export(trained(backend="llamafactory").id, out=tmp_path / "adapter")
    (exported / CARD).unlink()
    (exported / "chat_template.jinja").unlink(missing_ok=True)
    base = shutil.copytree("base", tmp_path / "base")
    (base / "chat_template.jinja").unlink(missing_ok=True)
    folder = tmp_path / "offloaded"
    with chat_sessions(
        exported, model=str(base), template="qwen", sampling=FEW, device="cpu", offload_folder=str(folder)
    ) as (talk,):
        assert answer(talk)
        assert talk.system == ""
    wrong = chat_sessions(exported, model=str(base), template="llama3", sampling=FEW, device="cpu")
    with wrong as (talk,), pytest.raises(InputError, match="this is the prompt of another model family"):
        answer(talk)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Return a folder that looks like a model of an unknown family."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "unheard"}')
    return folder


def test_a_model_of_an_unknown_family_is_a_sentence(model):
    with pytest.raises(InputError, match=r"of model_type `unheard`.*say which one it is with `--template FAMILY`"):
        ftbridge.chat(model, "?")
    with pytest.raises(UsageError, match="there is no model family `qwen9`"):
        ftbridge.chat(model, "?", template="qwen9")


def test_a_merged_model_of_no_family_is_asked_with_one_that_is_named(model):
    known = msgspec.structs.replace(card_of(resolve(model)), base="/gone", system="Be kind.")
    known.save(model)
    with pytest.raises(InputError, match=r"of model_type `unheard`.*say which one it is with `--template FAMILY`"):
        ftbridge.chat(model, "?")
    card, found, adapter = chat.model_of(resolve(model), template="chatml")
    assert (card.family, card.system, found, adapter) == ("chatml", "Be kind.", model, None)
    assert card.prompt.render("", [("?", None)]) == "<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("other", [{"run": "two"}, {"checkpoint": "output/iter_1.pth"}])
def test_merged_model_of_another_run_or_checkpoint_does_not_answer_for_a_run(model, tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    run = msgspec.structs.replace(record_run(Project.find(), "one", template="qwen3"), model=str(model)).save()
    card = card_of(resolve("one"))
    merged = shutil.copytree(model, run.path / "merged")
    card.save(merged)
    assert chat.model_of(resolve("one"))[1] == merged  # all that was kept
    if "checkpoint" in other:
        save_pickled(run.path / "output" / "iter_9.pth", b"N.")  # of which no adapter can be made
    msgspec.structs.replace(card, **other).save(merged)
    with pytest.raises(InputError, match=r"no readable checkpoint|no weights"):
        chat.model_of(resolve("one"))
    (merged / CARD).unlink()
    assert chat.model_of(resolve("one"))[1] == merged  # it says nothing


def test_a_model_without_a_base_cannot_be_compared(model):
    with (
        pytest.raises(InputError, match="there is nothing to compare"),
        chat_sessions(model, compare=True, template="qwen3"),
    ):
        pass


def test_two_models_that_do_not_fit_are_refused(model, tmp_path, monkeypatch):
    base = shutil.copytree(model, tmp_path / "base")
    for folder in (base, model):
        (folder / "model.safetensors").write_bytes(bytes(1000))
    monkeypatch.setattr(host, "available_memory", lambda: 1999)
    options = {"model": str(base), "template": "qwen3", "device": "cpu"}
    with (
        pytest.raises(SetupError, match=r"need 2\.0 KiB together.*--bits 4"),
        chat_sessions(model, compare=True, **options),
    ):
        pass


def test_the_second_of_two_models_gets_the_card_that_the_first_leaves_free(model, tmp_path, monkeypatch):
    base = shutil.copytree(model, tmp_path / "base")
    for folder in (base, model):
        (folder / "pytorch_model.bin").write_bytes(bytes(10 * 2**20))
    cards = [Gpu("A100", 81920, 8.0, "570.86.15", free, f"GPU-{name}") for name, free in (("a", 14), ("b", 13))]
    monkeypatch.setattr(devices, "gpus", lambda: cards)
    monkeypatch.setattr(chat, "interpreter_for", lambda *_, **__: Path(sys.executable))
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    (tmp_path / "generate.py").write_text("print('{}', flush=True); input()")
    with chat_sessions(model, compare=True, model=str(base), template="qwen3") as found:
        before, after = (talk._generator.placement.gpus for talk in found)
    assert (after, before) == ((cards[0],), (cards[1],))
    cards.pop()
    with (
        pytest.raises(SetupError, match="--bits 4"),
        chat_sessions(model, compare=True, model=str(base), template="qwen3"),
    ):
        pass


@pytest.mark.parametrize(
    ("system", "several", "option", "said"),
    [
        ("", True, None, "the training rows have different system prompts; asking with none, choose with `--system`\n"),
        ("Be kind.", True, None, "different system prompts; asking with `Be kind.`, choose with `--system`\n"),
        ("", True, "", ""),
        ("", True, "Be rude.", ""),
        ("Be kind.", False, None, ""),
    ],
)
def test_several_system_prompts_of_the_training_are_told_in_chat(
    model, tmp_path, monkeypatch, capsys, system, several, option, said
):
    known = card_of(resolve(model), template="qwen3")
    msgspec.structs.replace(known, system=system, several_systems=several).save(model)
    monkeypatch.setattr(chat, "interpreter_for", lambda *_, **__: Path(sys.executable))
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    (tmp_path / "generate.py").write_text("print('{}', flush=True); input()")
    with chat_sessions(model, system=option, device="cpu") as (talk,):
        assert talk.system == (system if option is None else option)
    found = capsys.readouterr().err
    assert found.endswith(said) if said else found == ""


def test_the_thoughts_of_a_model_do_not_join_the_history():
    assert chat._THOUGHT.sub("", "\n<think>\nwell\n</think>\n\nyes <think>no</think>") == "yes <think>no</think>"
    assert chat._THOUGHT.sub("", "<think>cut") == ""
    talk = ChatSession(SimpleNamespace(card=SimpleNamespace(thinking="off", chat_template=None)), "", Sampling())
    talk.turns = [("69?", "<think>well</think>yes"), ("why?", "<think>cut")]
    assert talk.answered == [("69?", "yes")]


def test_thinking_is_turned_on_for_families_that_can_think(model):
    card = card_of(resolve(model), template="qwen3")
    asked = [("1+1?", "2"), ("why?", None)]
    assert card.prompt.render("", asked).count("<think>\n\n</think>\n\n") == 2
    thinking = chat.with_thinking(card, "on")
    assert thinking.prompt.render("", asked).endswith("why?<|im_end|>\n<|im_start|>assistant\n")
    assert thinking.thinking == "on"
    with pytest.raises(UsageError, match=r"`qwen2\.5` does not"):
        chat.with_thinking(card_of(resolve(model), template="qwen2.5"), "on")


@pytest.mark.parametrize(
    ("family", "said"), [("qwen3", "has thinking off, as in the training"), ("qwen2.5", "does not think")]
)
def test_thinking_off_of_a_family_is_how_it_was_trained_which_is_said(model, capsys, family, said):
    card = card_of(resolve(model), template=family)
    assert chat.with_thinking(card, "auto") == card
    assert capsys.readouterr().err == ""
    assert chat.with_thinking(card, "off") == card
    assert said in capsys.readouterr().err


def test_thinking_sets_the_switch_of_the_trainings_chat_template_or_says_that_it_has_none(model):
    (model / "chat_template.jinja").write_text(FORGETS_THOUGHTS)
    card = card_of(resolve(model), template="qwen2.5")
    asked = [{"role": "user", "content": "why?"}]
    for trained, wanted, end in (("off", "on", "assistant\n"), ("on", "off", "<think>\n\n</think>\n\n")):
        template = choose_chat_template(model, None, trained)
        switched = chat.with_thinking(msgspec.structs.replace(card, chat_template=template), wanted).chat_template
        assert switched == choose_chat_template(model, None, wanted)
        assert render_chat_template(switched.text, asked, {}).endswith(end)
    plain = msgspec.structs.replace(card, chat_template=choose_chat_template(model, "plain", "off"))
    for wanted in ("on", "off"):
        with pytest.raises(UsageError, match="the chat template `plain` has none; leave it out"):
            chat.with_thinking(plain, wanted)


def test_a_gpu_that_is_not_there_is_told(model, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SetupError, match="`--device cuda` needs an NVIDIA GPU"):
        ftbridge.chat(model, "?", device="cuda", template="qwen3")


def test_model_of_a_hub_is_loaded_by_the_one_framework_that_is_there(tmp_path, monkeypatch):
    folder = tmp_path
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "empty"))
    python = make_environment(folder / "mine")
    (folder / "ftbridge.yaml").write_text(f"backends:\n  llamafactory: {{python: {python}}}\n")
    model = write_model(folder / "model")
    asked = []
    monkeypatch.setattr(model_download, "run_script", lambda python, *_: asked.append(python) or str(model))
    found = chat.source_of("hf://owner/name")
    assert (found.folder, asked) == (model, [python])
    card = card_of(found, template="qwen2.5")
    assert card.backend == "llamafactory"
    elsewhere = msgspec.structs.replace(card, backend="xtuner")
    assert interpreter(found.project, any_backend(found.project, elsewhere.backend)) == python
