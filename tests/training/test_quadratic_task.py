"""Pixels and statistics lead along the same path."""

from functools import partial

import lightning as L
import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR

from convexp.models import Standardised
from convexp.runs.quiet import quiet
from convexp.training import Exact, Files
from convexp.training.library import Library
from convexp.training.pairs import Pair
from convexp.training.quadratic import Quadratic
from convexp.training.quadratic_task import QuadraticTask
from convexp.training.stretches import Stretches

STEPS = 30
CONSTANT = partial(ConstantLR, factor=1.0, total_iters=0)
OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.1),
    "momentum": partial(SGD, lr=0.02, momentum=0.9, nesterov=True),
    "adam": partial(Adam, lr=0.02),
    "lbfgs": partial(LBFGS, lr=1.0, max_iter=1, max_eval=10, tolerance_change=0.0, line_search_fn="strong_wolfe"),
}


class Images(Files):
    """Whole images in float64, where two ways of adding up differ by 1e-16 instead of 1e-7."""

    def __init__(self, sizes, outputs):
        super().__init__(train="", operator=lambda image: image[:, :outputs].flip(1) ** 2, seed=0, crop_size=None)
        self.batch_size = None
        self.sizes = sizes

    def setup(self, stage=None):
        def pairs(seed):
            generator = torch.Generator().manual_seed(seed)
            images = [torch.rand(1, 3, *size, generator=generator, dtype=torch.float64) for size in self.sizes]
            return Library.of({str(index): Pair(image, self.operator(image)) for index, image in enumerate(images)})

        self.train_pairs, self.val_pairs = pairs(0), pairs(1)


class Path(L.Callback):
    def __init__(self):
        self.weights, self.losses = {}, {}

    def on_train_batch_end(self, trainer, module, *_):
        self.weights[trainer.global_step] = [weight.detach().clone() for weight in module.model.parameters()]
        self.losses |= {note.step: float(note.loss) for note in module.notes}


def follow(task_of, data, model, statistics, **arguments):
    quiet()
    data.setup()
    path = Path()
    clip, precision = arguments.pop("gradient_clip_val", None), arguments.pop("precision", "64-true")
    if statistics:
        settings = {"loss": nn.MSELoss(), "scheduler": CONSTANT, **arguments}
        task = QuadraticTask(
            model, quadratic=Quadratic.of(model, data.train_pairs.values()), every=2, gradient_clip_val=clip, **settings
        )
        source = Stretches(max_steps=STEPS, validate_every=10, every=[4], moments=[1, 2], validation=data.val_pairs)
    else:
        task, source = task_of(model, **arguments), data
    trainer = L.Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=source.per_validation if statistics else 10,
        num_sanity_val_steps=-1,
        gradient_clip_val=None if statistics else clip,
        precision=precision,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[path],
    )
    trainer.fit(task, datamodule=source)
    assert trainer.global_step == STEPS
    return path, task


def model_of(seed=0, **arguments):
    torch.manual_seed(seed)
    return nn.Conv2d(3, 2, 3, **arguments).double()


def assert_one_path(pixels, statistics, *, until=STEPS):
    assert set(statistics.weights) >= {1, 2, 4, 10, 20, STEPS}
    for step, weights in statistics.weights.items():
        if step > until:
            break
        for ours, theirs in zip(weights, pixels.weights[step], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    for step, loss in statistics.losses.items():
        assert loss == pytest.approx(pixels.losses[step], rel=1e-9 if step <= until else 1e-2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_the_path_is_the_same(optimizer, bias, padding, task_of):
    paths = []
    for statistics in (False, True):
        data, model = Images([(17, 23), (13, 29), (17, 23)], 2), model_of(bias=bias, padding=padding)
        path, task = follow(task_of, data, model, statistics, optimizer=OPTIMIZERS[optimizer])
        paths.append(path)
        assert task.measured_at == STEPS
    # L-BFGS builds each direction on all the gradients' differences before, and multiplies their rounding.
    assert_one_path(*paths, until=10 if optimizer == "lbfgs" else STEPS)
    assert paths[0].losses[STEPS - 1] < 0.8 * paths[0].losses[0]


@pytest.mark.parametrize("groups", [1, 3])
def test_so_it_is_with_groups_clipping_a_schedule_and_standardised_images(groups, task_of):
    paths = []
    for statistics in (False, True):
        torch.manual_seed(0)
        inner = nn.Conv2d(3, 3, (4, 3), groups=groups)
        model = Standardised(inner, mean=0.4, std=0.25, offset=-1.0, scale=0.5).double()
        path, _ = follow(
            task_of,
            Images([(17, 23)], 3),
            model,
            statistics,
            optimizer=partial(SGD, lr=0.3),
            scheduler=partial(CosineAnnealingLR, T_max=STEPS),
            gradient_clip_val=0.5,
            scale=0.5,
        )
        paths.append(path)
    assert_one_path(*paths)


def test_rates_are_those_of_the_schedule(task_of):
    seen = {}

    class Rates(L.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            seen.update({note.step: note.rate for note in module.notes})

    data = Images([(17, 23)], 2)
    data.setup()
    model = model_of()
    task = QuadraticTask(
        model,
        quadratic=Quadratic.of(model, data.train_pairs.values()),
        every=3,
        gradient_clip_val=None,
        loss=nn.MSELoss(),
        optimizer=partial(SGD, lr=1.0),
        scheduler=partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
    )
    quiet()
    trainer = L.Trainer(
        max_steps=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=8,
        callbacks=[Rates()],
    )
    trainer.fit(
        task,
        datamodule=Stretches(max_steps=8, validate_every=8, every=[3], moments=[], validation=data.val_pairs),
    )
    assert set(seen) == {0, 3, 6, 7}  # every third, and the last
    assert all(rate == 0.5**step for step, rate in seen.items())


def test_the_exact_step_ends_at_the_optimum(task_of):
    data, model = Images([(17, 23), (13, 29)], 2), model_of()
    path, task = follow(task_of, data, model, True, optimizer=Exact)
    optimum = task.quadratic.optimum
    assert task.quadratic.loss() == pytest.approx(optimum.loss, rel=1e-12)
    for step in (1, STEPS):
        torch.testing.assert_close(path.weights[step][0].flatten(1).T, optimum.weights[0, :27], rtol=1e-12, atol=0)


def test_the_path_of_single_precision_is_the_same_but_for_its_rounding(task_of):
    data, weights = Images([(97, 146)], 1), []
    data.setup()
    data.train_pairs, data.val_pairs = (
        Library.of({name: Pair(pair.input.float(), pair.target.float()) for name, pair in pairs.items()})
        for pairs in (data.train_pairs, data.val_pairs)
    )
    data.setup = lambda stage=None: None
    for statistics in (False, True):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 1, 3, padding=1)
        path, _ = follow(task_of, data, model, statistics, optimizer=partial(SGD, lr=0.1), precision="32-true")
        weights.append(path.weights[STEPS][0])
    assert weights[1].dtype == torch.float32
    torch.testing.assert_close(*weights, atol=2e-6, rtol=0)


def test_a_search_arrives_where_single_precision_would_stop_it(monkeypatch):
    # Smooth images: in the long valleys of their loss, rounding the weights is more than a step.
    y, x = torch.meshgrid(torch.linspace(0, 3, 61), torch.linspace(0, 4, 67), indexing="ij")
    image = torch.stack([(x * y).sin(), (x + y * y).cos(), (x * x - y).sin()])[None] * 0.5 + 0.5
    target = image.roll(1, 3)[:, :1] + 0.01 * torch.rand(1, 1, 61, 67, generator=torch.Generator().manual_seed(0))
    data = Images([], 1)
    data.setup = lambda stage=None: None
    data.train_pairs = data.val_pairs = Library.of({"waves": Pair(image, target)})
    search = partial(LBFGS, max_iter=20, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe")
    gaps = []
    for dtype in (torch.float64, torch.float32):
        monkeypatch.setattr("convexp.training.quadratic_task.exact_dtype", lambda dtype=dtype: dtype)
        torch.manual_seed(0)
        model = nn.Conv2d(3, 1, 3)
        _, task = follow(None, data, model, True, optimizer=search, scheduler=CONSTANT, precision="32-true")
        gaps.append(task.quadratic.optimum.gap(task.quadratic.loss()))
    assert gaps[0] < 2e-3
    assert gaps[1] > 5 * gaps[0]
