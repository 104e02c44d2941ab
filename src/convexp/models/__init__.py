"""What imitates: convolutional models, how they start, and how far they see."""

from convexp.models.context_aggregation import ContextAggregation
from convexp.models.geometry import receptive_field
from convexp.models.stack import Stack
from convexp.models.standardised import Standardised

__all__ = ["ContextAggregation", "Stack", "Standardised", "receptive_field"]
