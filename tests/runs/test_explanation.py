import errno

import pytest
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convexp.errors import ConvexpError
from convexp.runs.explanation import explain, mendable


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("modle", "did you mean model?; "),
        ("trainer.max_step", "did you mean trainer.max_steps?; "),
        ("max_steps", "did you mean trainer.max_steps?; "),
        ("lr", "did you mean optimizer.lr?; "),
        ("modle.kernel_size", "did you mean model.kernel_size?; "),
        ("optimizer.betas", ""),  # model.bias is alike, and elsewhere
        ("hydra.nope", ""),
    ],
)
def test_the_nearest_key_is_suggested(key, suggestion):
    line = explain(HydraException(f"Could not override '{key}'.\nand more"), ["seed=1", f"{key}=3"])
    assert line == f"{key}=3: there is no such key; {suggestion}--help lists all keys"


def test_the_choices_among_the_arguments_decide_which_keys_there_are():
    error = HydraException("Could not override 'optimizer.beta'")
    assert "optimizer.betas?" in explain(error, ["optimizer=adam", "optimizer.beta=[0,0]"])
    assert "optimizer.betas?" not in explain(error, ["optimizer=sgd", "optimizer.beta=[0,0]"])


def test_a_wrong_interpolation_names_its_key():
    config = OmegaConf.create({"optimizer": {"lr": "${nope}"}})
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.to_container(config, resolve=True)
    assert explain(caught.value, ["optimizer.lr=${nope}"]) == (
        "optimizer.lr=${nope}: Interpolation key 'nope' not found"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConvexpError("seed=-1: must be"), "seed=-1: must be"),
        (PermissionError(errno.EACCES, "Permission denied", "/out"), "/out: Permission denied"),
        (OSError("broken"), "a file: broken"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "a file: No space left on device; free some space, then resume the run",
        ),
        (HydraException(""), "no message"),
        (HydraException("\nfirst\nsecond"), "first"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line):
    assert mendable(error)
    assert explain(error, []) == line


def test_a_defect_keeps_its_kind():
    error = KeyError("max_steps")
    assert not mendable(error)
    assert explain(error, []) == "KeyError: 'max_steps'"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dog", "difference_of_gaussians"),  # its initials
        ("log", "laplacian_of_gaussian"),  # and not closing, whose letters are more alike
        ("gaussian", "laplacian_of_gaussian"),
        ("sobell", "sobel"),
        ("edge", "edges"),
        ("qqq", None),
    ],
)
def test_the_nearest_choice_is_suggested(typed, meant):
    options = ["closing", "difference_of_gaussians", "edges", "laplacian_of_gaussian", "sobel"]
    error = MissingConfigException("not found", f"target/{typed}", options)
    suggestion = f"; did you mean {meant}?" if meant else ""
    assert explain(error, []) == f"target={typed}: no such choice{suggestion}; there are {', '.join(options)}"


def test_a_job_that_the_queue_lost():
    lost = pytest.importorskip("submitit.core.utils", reason="submitit is not installed").UncompletedJobError
    error = lost(
        "Job 7_1 (task: 0) with path 7_1.pkl\nhas not produced any output (state: CANCELLED)\nError stream:\n-"
    )
    assert mendable(error)
    assert explain(error, []) == (
        "Job 7_1 (task: 0) with path 7_1.pkl has not produced any output (state: CANCELLED): it was cancelled, or its "
        "machine failed; the same command goes on with the sweep"
    )
