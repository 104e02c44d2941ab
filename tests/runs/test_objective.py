import pytest
import torch
from torch import nn

from convexp.errors import ConvexpError
from convexp.exact import gather
from convexp.runs.objective import choose_objective
from convexp.training import Shapes


@pytest.fixture
def choose():
    def choose(model=None, *, wanted="auto", loss=None, solves=False, crop_size=None, batch_size=None, **trainer):
        data = Shapes(
            operator=lambda image: 1 - image,
            seed=0,
            height=17,
            width=23,
            gray=True,
            crop_size=crop_size,
            batch_size=batch_size,
        )
        data.setup()
        config = {"objective": wanted, "trainer": {"precision": "32-true", **trainer}}
        chosen = choose_objective(config, model or nn.Conv2d(1, 1, 3), loss or nn.MSELoss(), data, solves=solves)
        return chosen, data

    return choose


def test_one_convolution_on_whole_images_is_trained_on_their_statistics(choose):
    chosen, data = choose()
    assert (chosen.on_statistics, chosen.reason) == (True, "")
    expected = gather(nn.Conv2d(1, 1, 3), data.train_pairs.values())
    torch.testing.assert_close(chosen.quadratic.statistics.uu, expected.uu)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"wanted": "pixels"}, "objective=pixels"),
        ({"crop_size": 11, "batch_size": 2}, "data.crop_size=11 takes random samples"),
        ({"batch_size": 1}, "data.batch_size=1 takes random samples"),
        ({"precision": "bf16-mixed"}, "trainer.precision=bf16-mixed"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2"),
        ({"gradient_clip_algorithm": "value"}, "trainer.gradient_clip_algorithm=value"),
    ],
)
def test_where_the_path_would_be_another_the_pixels_are_trained_on(choose, arguments, reason):
    chosen, _ = choose(**arguments)
    assert (chosen.on_statistics, chosen.reason) == (False, reason)
    assert chosen.quadratic.optimum.loss == pytest.approx(0, abs=1e-12)  # and the optimum is known all the same


@pytest.mark.parametrize("asked", [{"wanted": "statistics"}, {"solves": True}])
def test_who_asks_for_statistics_gets_those_of_all_pixels(choose, asked):
    chosen, _ = choose(crop_size=11, batch_size=2, **asked)
    assert chosen.on_statistics
    assert chosen.reason == "not of the samples that data.crop_size=11 would take, but of all pixels"
    assert chosen.quadratic.optimum.count == 15 * 21


@pytest.mark.parametrize(
    ("model", "loss", "reason", "surprises"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()), nn.MSELoss(), "the model Sequential is not one conv", False),
        (nn.Conv2d(1, 1, 3), nn.L1Loss(), "the loss L1Loss is not the mean squared error", True),
    ],
)
def test_other_losses_are_trained_on_pixels(choose, model, loss, reason, surprises):
    chosen, _ = choose(model, loss=loss)
    assert (chosen.quadratic, chosen.on_statistics, chosen.surprises) == (None, False, surprises)
    assert chosen.reason.startswith(reason)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"loss": nn.L1Loss(), "solves": True},
            "optimizer=exact solves for the weights of one convolution with loss=mse; here the loss L1Loss is not ",
        ),
        (
            {"model": nn.Identity(), "solves": True},
            "optimizer=exact solves .* here the model Identity is not one convolution, linear in all its weights: use ",
        ),
        ({"loss": nn.L1Loss(), "wanted": "statistics"}, "objective=statistics: the loss L1Loss .*; objective=auto tra"),
        ({"wanted": "pixels", "solves": True}, "optimizer=exact solves the statistics; leave objective=pixels out"),
        ({"wanted": "statistics", "precision": "16-mixed"}, "trainer.precision=16-mixed is for training on pixels; "),
        ({"solves": True, "accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2 is for training on pixels"),
    ],
)
def test_what_there_is_not_is_refused(choose, arguments, message):
    with pytest.raises(ConvexpError, match=f"^{message}"):
        choose(**arguments)
