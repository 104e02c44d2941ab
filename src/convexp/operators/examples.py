"""An operator that is known by pictures of what it does."""

from torch import Tensor, nn

from convexp.errors import ConvexpError


class Examples(nn.Module):
    """The operator between pictures before and after it, of which nothing else is known.

    Example:
        >>> import torch
        >>> Examples()(torch.rand(1, 1, 5, 7))
        Traceback (most recent call last):
        convexp.errors.ConvexpError: target=examples is known by its pictures alone: use data=pairs or another target
    """

    def forward(self, image: Tensor) -> Tensor:
        """Refuses.

        Raises:
            ConvexpError: Always.
        """
        raise ConvexpError("target=examples is known by its pictures alone: use data=pairs or another target")
