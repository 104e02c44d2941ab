"""How good it could be: of one convolution and a squared loss the optimum and the way to it, from sums over pixels."""

from convexp.exact.descent import Descent
from convexp.exact.layer import only_convolution
from convexp.exact.least_squares import Optimum, least_squares, solve
from convexp.exact.shelf import Shelf
from convexp.exact.statistics import Statistics, gather

__all__ = ["Descent", "Optimum", "Shelf", "Statistics", "gather", "least_squares", "only_convolution", "solve"]
