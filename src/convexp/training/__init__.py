"""How it learns: pairs of images become batches, batches become weights, and what happens becomes visible."""

from convexp.training.data import Files, ImageData, Photo, Photos, Shapes
from convexp.training.exact import Exact
from convexp.training.task import ImitationTask

__all__ = ["Exact", "Files", "ImageData", "ImitationTask", "Photo", "Photos", "Shapes"]
