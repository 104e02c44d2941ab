"""How it learns: pairs of images become batches, batches become weights, and what happens becomes visible."""

from convexp.training.data import ImageData
from convexp.training.drawn import DeadLeaves, Shapes
from convexp.training.exact import Exact
from convexp.training.folders import Files, Pairs
from convexp.training.shipped import Photo, Photos
from convexp.training.task import ImitationTask

__all__ = ["DeadLeaves", "Exact", "Files", "ImageData", "ImitationTask", "Pairs", "Photo", "Photos", "Shapes"]
