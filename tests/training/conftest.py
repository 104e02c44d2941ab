from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR

from convexp.runs.quiet import quiet
from convexp.training import ImitationTask, Shapes


@pytest.fixture
def task_of():
    """Makes a task of a model: mean squared error, gradient descent at a constant rate, unless told otherwise."""

    def make(model=None, **arguments):
        settings = {
            "loss": nn.MSELoss(),
            "optimizer": partial(SGD, lr=0.1),
            "scheduler": partial(ConstantLR, factor=1.0, total_iters=0),
        }
        if model is None:
            torch.manual_seed(0)
            model = nn.Conv2d(1, 1, 3)
        return ImitationTask(model, **(settings | arguments))

    return make


@pytest.fixture
def logger(tmp_path):
    """Writes events into the test's own folder."""
    return TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False)


@pytest.fixture
def data():
    """Crops of 17×17 from one picture of shapes of 37×41, whose negative is the target."""
    data = Shapes(operator=lambda batch: 1 - batch, seed=0, height=37, width=41, crop_size=17)
    data.setup()
    return data


@pytest.fixture
def train(data):
    """Trains a task as a run does, and returns the trainer."""

    def train(task, steps, **arguments):
        quiet()
        settings = {
            "max_steps": steps,
            "max_epochs": -1,
            "check_val_every_n_epoch": None,
            "val_check_interval": steps,
            "num_sanity_val_steps": -1,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        trainer = L.Trainer(**(settings | arguments))
        trainer.fit(task, datamodule=data)
        return trainer

    return train
