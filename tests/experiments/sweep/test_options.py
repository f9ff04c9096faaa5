import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.experiments.sweep.options import (
    RandomChoice,
    Span,
    SweepFile,
    SweepOptions,
    load_sweep_file,
    number_of_points,
    parse_grid,
    parse_seeds,
    settings_of,
    varied_and_constant,
)


def settings(*grid, **more):
    return settings_of(SweepOptions(grid=parse_grid(grid), **more))


def test_a_grid_is_all_combinations_each_value_of_its_own_type():
    found = settings("sample=100,500,all", "lora_rank=8,16", "learning_rate=1e-4", "lora_targets=q_proj+v_proj")
    assert len(found) == 6
    assert found[0].convert == {"sample": 100}
    assert found[0].train == {"lora_rank": 8, "learning_rate": 1e-4, "lora_targets": ("q_proj", "v_proj")}
    assert found[-1].shown == {
        "sample": "all",
        "lora_rank": 16,
        "learning_rate": 1e-4,
        "lora_targets": ("q_proj", "v_proj"),
    }
    varied, constant = varied_and_constant(found)
    assert varied == ("sample", "lora_rank")
    assert constant == {"learning_rate": 1e-4, "lora_targets": ("q_proj", "v_proj")}


def test_an_option_of_both_commands_is_told_by_its_command():
    (found,) = settings("convert.seed=7", "train.seed=8")
    assert (found.convert, found.train) == ({"seed": 7}, {"seed": 8})
    with pytest.raises(UsageError, match=r"write `convert\.seed` or `train\.seed`"):
        settings("seed=1")


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ("lora_rank=", "takes an option and its values"),
        ("lora_rank", "takes an option and its values"),
        ("lora_rang=3", "did you mean `lora_rank`"),
        ("train.lora_rang=3", r"no option `train\.lora_rang`; did you mean `lora_rank`"),
        ("max_new_tokens=9", "an option of `evaluate`: a sweep varies those of `convert` and `train`"),
        ("evaluate.task=extraction", "an option of `evaluate`: a sweep varies"),
        ("conver.sample=3", "did you mean `convert`"),
        ("lora_rank=8,8", r"points 1 and 2 are the same \(lora_rank=8\)"),
        ("lora_rank=a", "`lora_rank` takes a whole number of at least 1; got `a`"),
        ("lora_dropout=2", "at least 0 and below 1"),
        ("method=lorra", "takes `full`, `lora` or `qlora`; got `lorra`"),
        ("backend=xtunr", "no backend `xtunr`; did you mean"),
        ("sample=0", "takes numbers of samples, or `all`"),
        ("dataset_dir=x", "`dataset_dir` cannot be varied"),
        ("replace=on", "`replace` cannot be varied"),
    ],
)
def test_what_cannot_be_varied_is_told_in_a_sentence(grid, told):
    with pytest.raises(UsageError, match=told):
        settings(grid)


def test_a_sweep_of_nothing_or_of_two_kinds_is_refused():
    with pytest.raises(UsageError, match="nothing to vary"):
        settings()
    with pytest.raises(UsageError, match="one of `grid`, `points` and `random`"):
        settings("lora_rank=8", points=[{"lora_rank": 8}])
    with pytest.raises(UsageError, match="no value for `lora_rank`"):
        settings_of(SweepOptions(grid={"lora_rank": []}))
    with pytest.raises(UsageError, match="the seed of the training is given twice"):
        settings("train.seed=1", seeds=[1, 2])
    with pytest.raises(UsageError, match="seed 3 is given twice"):
        settings("lora_rank=8", seeds=[3, 3])


def test_a_random_choice_is_the_same_for_its_seed_and_never_twice_the_same_point():
    choose = {"learning_rate": Span(1e-5, 1e-3, log=True), "lora_rank": Span(4, 64, whole=True), "epochs": [1, 3]}
    first, again, other = (
        settings_of(SweepOptions(random=RandomChoice(number=8, choose=choose, seed=seed))) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert all(1e-5 <= each.train["learning_rate"] <= 1e-3 and 4 <= each.train["lora_rank"] <= 64 for each in first)
    few = RandomChoice(number=9, choose={"epochs": [1, 2, 3]})
    with pytest.raises(UsageError, match="asks for 9 points, and only 3"):
        settings_of(SweepOptions(random=few))


def test_points_are_counted_without_making_them():
    grid = {name: list(range(1, 1001)) for name in ("lora_rank", "epochs", "micro_batch_size")}
    assert number_of_points(SweepOptions(grid=grid, seeds=[1, 2])) == 2_000_000_000


def test_seeds_are_whole_numbers():
    assert parse_seeds("1, 2,3") == [1, 2, 3]
    assert parse_seeds("") == []
    for wrong in ("1,", "a", "-1", "1.5", str(1 << 32)):
        with pytest.raises(UsageError, match="--seeds"):
            parse_seeds(wrong)


def test_a_file_holds_what_is_varied_and_what_is_not(tmp_path):
    file = tmp_path / "扫描.yaml"
    file.write_text(
        "name: 大小\nconvert: {sources: faq.csv}\ntrain: {model: base}\nseeds: [1, 2]\n"
        "random: {number: 2, choose: {learning_rate: {low: 0.00001, high: 0.001, log: true}}}\n",
        encoding="utf-8",
    )
    found = load_sweep_file(file)
    assert isinstance(found, SweepFile)
    assert (found.name, found.train, found.seeds) == ("大小", {"model": "base"}, [1, 2])
    assert len(settings_of(found)) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gird: {lora_rank: [8]}", "did you mean `grid`"),
        ("lora_rank: [8, 16]", "line 1: `lora_rank` is an option; put it under"),
        ("grid: {lora_rank: 8}", "grid"),
        ("random: {number: 0, choose: {}}", "random"),
        ("random: {number: 2, choose: {epochs: {low: 3, high: 1}}}", "`low` must be less than `high`"),
        ("grid: [", "not valid YAML"),
    ],
)
def test_a_file_that_asks_for_no_sweep_is_told_where(tmp_path, text, told):
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=told):
        load_sweep_file(file)
