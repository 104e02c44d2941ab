from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.optim import LBFGS, Adam
from torch.optim.lr_scheduler import OneCycleLR

from convexp.errors import ConvexpError
from convexp.training.pairs import Pair


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_that_of_the_common_centre(task_of):
    image = noise(1, 1, 17, 23)
    target = noise(1, 1, 13, 19, seed=1)
    task = task_of(nn.Identity())
    expected = (image[..., 2:15, 2:21] - target).square().mean()
    torch.testing.assert_close(task.training_step([Pair(image, target)], 0), expected)


def test_the_loss_counts_every_pixel_alike(task_of):
    pairs = [Pair(noise(n, 1, *size), noise(n, 1, *size, seed=1)) for n, size in ((1, (17, 23)), (3, (5, 7)))]
    squares = torch.cat([(pair.input - pair.target).square().flatten() for pair in pairs])
    torch.testing.assert_close(task_of(nn.Identity()).training_step(pairs, 0), squares.mean())


def test_the_scale_is_the_losss_unit(task_of):
    pair = Pair(noise(1, 1, 17, 23), noise(1, 1, 17, 23, seed=1))
    plain, scaled = (task_of(nn.Identity(), scale=scale).training_step([pair], 0) for scale in (1.0, 0.25))
    torch.testing.assert_close(scaled, 16 * plain)


def test_channels_are_never_broadcast(task_of):
    with pytest.raises(ConvexpError, match="channels"):
        task_of(nn.Identity()).training_step([Pair(noise(1, 3, 17, 23), noise(1, 1, 17, 23))], 0)


def test_gradients_reach_every_weight_of_the_deep_stack(task_of):
    config = OmegaConf.load(Path(__file__).parents[2] / "configs" / "model" / "deep.yaml")
    torch.manual_seed(0)
    model = instantiate(config.get("model", config))(in_channels=1, out_channels=1)
    task_of(model).training_step([Pair(noise(2, 1, 37, 41), noise(2, 1, 37, 41, seed=1))], 0).backward()
    weights = dict(model.named_parameters())
    assert len(weights) == 26
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights.values())


def test_training_is_gradient_descent(task_of, train, data):
    torch.manual_seed(0)
    model = nn.Conv2d(1, 1, 3)
    kernel = model.weight.detach().double().requires_grad_()
    bias = model.bias.detach().double().requires_grad_()
    for step in range(4):
        (pair,) = data.batches(start=0).batch(step)
        output = nn.functional.conv2d(pair.input.double(), kernel, bias)
        (output - pair.target[..., 1:-1, 1:-1]).square().mean().backward()
        with torch.no_grad():
            for weight in (kernel, bias):
                weight -= 0.1 * weight.grad
                weight.grad = None
    train(task_of(model), 4)
    torch.testing.assert_close(model.weight.detach().double(), kernel.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.bias.detach().double(), bias.detach(), atol=1e-6, rtol=1e-5)


def test_the_schedule_moves_with_every_step(task_of, train):
    rates = []

    class Rates(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    scheduler = partial(OneCycleLR, max_lr=1.0, total_steps=4, pct_start=0.5, anneal_strategy="linear")
    task = task_of(nn.Conv2d(1, 1, 3), optimizer=partial(Adam, lr=1.0), scheduler=scheduler)
    train(task, 4, callbacks=[Rates()])
    assert rates == pytest.approx([0.04, 1.0, 0.5, 0.0], abs=1e-5)


def test_a_models_own_randomness_depends_on_seed_and_step_alone(task_of, train):
    def losses(seed, disturb):
        torch.manual_seed(0)
        task = task_of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(), nn.Conv2d(4, 1, 3)), seed=seed)
        seen = []

        class Losses(L.Callback):
            def on_train_batch_end(self, trainer, module, outputs, *_):
                seen.append(float(outputs["loss"]))
                if disturb:
                    torch.rand(1)

        train(task, 3, callbacks=[Losses()])
        return seen

    assert losses(1, disturb=True) == losses(1, disturb=False)
    assert losses(1, disturb=False)[0] != losses(2, disturb=False)[0]


def test_the_remembered_loss_is_that_before_the_line_search(task_of, train, data):
    seen = []

    class Losses(L.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            seen.append(float(module.notes[-1].loss))

    def optimizer(weights):
        return LBFGS(weights, max_iter=3, max_eval=9, line_search_fn="strong_wolfe")

    torch.manual_seed(0)
    model = nn.Conv2d(1, 1, 3)
    (pair,) = data.batches(start=0).batch(0)
    before = (model(pair.input) - pair.target[..., 1:-1, 1:-1]).square().mean()
    train(task_of(model, optimizer=optimizer), 1, callbacks=[Losses()])
    assert seen == [pytest.approx(before.item(), rel=1e-6)]


def test_line_searches_do_not_share_out_a_loss(task_of):
    task = task_of(nn.Conv2d(1, 1, 3), optimizer=LBFGS)
    task.trainer = type("Trainer", (), {"world_size": 2})()
    with pytest.raises(ConvexpError, match=r"^optimizer=lbfgs on 2 processes: .* use trainer.devices=1, or another"):
        task.configure_optimizers()


def test_validation_measures_whole_images(task_of, train, data):
    torch.manual_seed(0)
    model = nn.Conv2d(1, 1, 3)
    task = task_of(model)
    train(task, 2)
    with torch.no_grad():
        errors = [(model(p.input) - p.target[..., 1:-1, 1:-1]).square().mean() for p in data.val_pairs.values()]
    assert task.measured_at == 2
    assert set(task.val) == {"val/mse", "val/r2", "val/psnr", "val/ssim"}
    assert task.val["val/mse"] == pytest.approx(float(sum(errors)) / 2, rel=1e-5)


def test_a_model_in_float64_is_measured(task_of, train):
    task = task_of()
    train(task, 1, precision="64-true")
    assert task.val["val/mse"] > 0
