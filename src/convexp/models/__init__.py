"""What imitates: convolutional models, how they start, and how far they see."""

from convexp.models.geometry import receptive_field
from convexp.models.stack import Stack
from convexp.models.standardised import Standardised

__all__ = ["Stack", "Standardised", "receptive_field"]
