from pathlib import Path

import pytest
import yaml

from convexp.errors import ConvexpError
from convexp.runs.plan import read_plan


def test_what_is_typed_is_not_searched():
    assert set(read_plan(["model=deep"]).space) == {"optimizer.lr", "scheduler"}
    assert set(read_plan(["model=deep", "scheduler=constant", "search.trials=3"]).space) == {"optimizer.lr"}


@pytest.mark.parametrize("words", [["optimizer=exact"], ["optimizer=lbfgs"], ["model=single"]])
def test_an_optimizer_that_needs_no_search_is_said(words):
    message = r"^optimizer=(exact|lbfgs) finds the length of its steps itself, so that there is nothing to search"
    with pytest.raises(ConvexpError, match=message):
        read_plan(words)


def test_beside_other_keys_or_without_a_line_search_its_rate_may_be_searched(tmp_path):
    assert read_plan(["optimizer=lbfgs", "optimizer.line_search_fn=null"]).space
    space = {"optimizer.lr": {"low": 0.5, "high": 1}, "model.kernel_size": {"choices": [3, 5]}}
    Path(tmp_path, "search").mkdir()
    Path(tmp_path, "search/mine.yaml").write_text(yaml.safe_dump({"space": space}))
    assert set(read_plan(["optimizer=lbfgs", "search=mine"], str(tmp_path)).space) == set(space)


def test_pruning_as_it_is_written():
    words = ["model=deep"]
    standard = {"startup_trials": 5, "warmup_steps": 1000}
    assert read_plan(words).pruning == standard
    assert read_plan([*words, "search.pruning=null"]).pruning is None
    assert read_plan([*words, "search.pruning.warmup_steps=0"]).pruning == {**standard, "warmup_steps": 0}
    assert read_plan([*words, "search.pruning={startup_trials: 2}"]).pruning == {**standard, "startup_trials": 2}
    off_and_on = ["search.pruning=null", "search.pruning.startup_trials=2"]
    assert read_plan([*words, *off_and_on]).pruning == {**standard, "startup_trials": 2}
