"""A backend that a package of its own brings does what ours do, and nothing of ftbridge knows its name."""

import json
import shutil

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, UsageError
from ftbridge.core.plugins import _entry_points, load_backend, plugin_names
from ftbridge.launchers.preview.preview import preview
from ftbridge.launchers.runs import checkpoints
from ftbridge.launchers.runs.training_log import read_curve
from ftbridge.launchers.training.prepare import build_only, prepare
from ftbridge.launchers.training.train import preflight
from ftbridge.templates.families import get_family

from ...builders.plugin_packages import PLAIN, install  # noqa: TID252
from ...conftest import SMALL  # noqa: TID252

OPTIONS = {**SMALL, "dataset": "medqa", "method": "lora", "backend": "plain", "gradient_accumulation_steps": 2}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Install the package for this module's tests, and for the processes that they start."""
    place = install(PLAIN, tmp_path_factory.mktemp("site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        patch.setenv("PYTHONPATH", str(place))
        _entry_points.cache_clear()
        yield place
    _entry_points.cache_clear()


@pytest.fixture(scope="module")
def run(package, trained):
    return trained(**OPTIONS)


def test_backend_of_a_package_is_found_and_gets_defaults(package):
    assert plugin_names("backends") == ["llamafactory", "plain", "xtuner"]
    backend = load_backend("plain")
    assert (backend.title, backend.target, backend.drops_unlabelled) == ("plain PEFT", "xtuner", False)


def test_datasets_are_checked_for_it_by_the_file_that_it_reads(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_text('{"instruction": "why?", "output": "because"}\n')
    ftbridge.convert("faq.jsonl")
    assert _loads() == {"llamafactory": "yes", "plain": "yes", "xtuner": "yes"}
    (tmp_path / "data" / "faq-train.xtuner.jsonl").write_text('{"conversation": 5}\n')
    assert _loads() == {"llamafactory": "yes", "plain": "no", "xtuner": "no"}


def _loads():
    (checked,) = ftbridge.datasets.check()
    return {backend: support.loads for backend, support in checked.backends.items()}


@pytest.mark.framework
def test_backend_of_a_package_trains_and_its_run_is_read(run):
    assert (run.status, run.steps) == ("succeeded", 3)
    assert [path.name for path in load_backend("plain").checkpoints(run.path)] == ["checkpoint-3"]
    assert checkpoints.find_checkpoint(run, "3").name == "checkpoint-3"
    records = read_curve(run)
    assert [record["step"] for record in records] == [1, 2, 3]
    assert records[-1]["loss"] < records[0]["loss"]
    assert run.checkpoints.keys() == {"output/checkpoint-3"}  # whole, so that a training could go on from it


@pytest.mark.framework
@pytest.mark.parametrize("packing", [False, True])
def test_backend_of_a_package_trains_on_ready_tokens(package, trained, packing):
    options = {**OPTIONS, "tokens": "once", "packing": packing, "max_steps": 3, "cutoff_length": 512}
    own = trained(**options)
    ours = trained(**options | {"backend": "llamafactory"})
    assert (own.status, own.steps) == ("succeeded", 3)
    # The adapter begins at zero, so that the first loss is the base's, of the same rows in the same order.
    first, other = (read_curve(run)[0]["loss"] for run in (own, ours))
    assert first == pytest.approx(other, abs=1e-3)


@pytest.mark.framework
def test_backend_that_takes_no_ready_tokens_trains_on_its_own(in_project, package, monkeypatch, capsys):
    plugin = _entry_points("backends")["plain"].load()
    monkeypatch.setattr(plugin, "token_columns", ("input_ids", "labels"))
    with pytest.raises(UsageError, match="plain PEFT cannot tell packed samples apart; take `--no-packing`"):
        prepare(**OPTIONS, tokens="once", packing=True)
    monkeypatch.delattr(plugin, "token_columns")
    assert prepare(**OPTIONS).plan.tokens is None
    assert "note: plain PEFT does not train on ready tokens (`--tokens native`)" in capsys.readouterr().err
    with pytest.raises(UsageError, match="plain PEFT does not train on ready tokens; take `--tokens native`"):
        prepare(**OPTIONS, learn="last")


@pytest.mark.framework
def test_a_training_goes_on_from_its_checkpoint(run, in_project, package):
    checkpoint = shutil.copytree(load_backend("plain").checkpoints(run.path)[0], in_project / "elsewhere-3")
    resumed = ftbridge.train(**OPTIONS | {"max_steps": 5}, resume=str(checkpoint), trust_checkpoint=True)
    assert [record["step"] for record in read_curve(resumed)] == [4, 5]
    (checkpoint / "trainer_state.json").unlink()
    with pytest.raises(InputError, match="is not a complete checkpoint with the optimizer's state"):
        prepare(**OPTIONS | {"max_steps": 5}, resume=str(checkpoint), trust_checkpoint=True)


@pytest.mark.framework
def test_adapter_of_a_packages_backend_is_exported_and_answers(run, in_project, package):
    folder = ftbridge.export(run.id, out=in_project / "plain-adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["peft_type"]) == (8, "LORA")
    assert json.loads((folder / "ftbridge.json").read_text())["backend"] == "plain"
    answer = ftbridge.chat(run.id, "What is aspirin for?", device="cpu")
    assert answer
    assert answer == ftbridge.chat(folder, "What is aspirin for?", device="cpu", system=run.system)


@pytest.mark.framework
def test_backend_of_a_package_is_reached_from_the_command_line(run, in_project, run_ftbridge):
    def said(*arguments):
        done = run_ftbridge(*arguments, cwd=in_project)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    options = ["--backend", "plain", "--method", "lora", "--model", "base", "--device", "cpu", "--dataset", "medqa"]
    assert "plain PEFT" in said("train", *options, "--dry-run")
    assert "plain.yaml" in said("train", *options, "--dry-run", "--json")
    assert run.id in said("runs", "list")
    checks = [check for check in json.loads(said("doctor", "--json")) if check["name"] == "plain"]
    assert {check["status"] for check in checks} == {"ok"}
    assert run.versions["peft"] in {check["found"] for check in checks}


@pytest.mark.framework
def test_backend_of_a_package_is_built_without_training(in_project, package):
    ready = prepare(**OPTIONS)
    assert [check.name for check in preflight(ready) if check.status != "ok"] == []
    build_only(ready)
    broken = msgspec.structs.replace(ready.plan, model=in_project / "absent")
    with pytest.raises(FrameworkError, match="plain PEFT cannot build what the config names"):
        build_only(msgspec.structs.replace(ready, plan=broken))


@pytest.mark.framework
def test_preview_shows_its_tokens_beside_ours(in_project, package):
    native = {"model": "base", "tokens": "native"}
    found = preview("medqa", samples=2, **native)
    assert list(found.views) == ["xtuner", "plain", "llamafactory"]
    assert found.views["plain"].samples == found.views["xtuner"].samples
    assert ["plain PEFT" not in difference for difference in found.differences] == [True, True]
    alone = preview("medqa", backend="plain", stats=True, png=in_project / "plain.png", **native)
    assert list(alone.views) == ["plain"]
    assert alone.stats["plain PEFT"].samples == 21


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "qlora"}, "plain PEFT has not `method: qlora`; take `--method lora`"),
        ({"packing": True, "tokens": "native"}, "plain PEFT has not packing"),
        ({"set": {"a": "1"}}, "plain PEFT has not options of its own"),
    ],
)
@pytest.mark.framework
def test_option_that_a_packages_backend_lacks_is_refused(in_project, package, options, message):
    with pytest.raises(UsageError, match=message):
        prepare(**{**OPTIONS, **options})


def test_family_without_a_cell_for_a_backend_uses_its_first_prompt(package):
    family = get_family("qwen2.5")
    assert family.cell("plain").prompt == family.cell("xtuner").prompt
    assert not family.cell("plain").name
