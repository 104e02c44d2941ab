"""Operators made of named stages."""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from convexp.errors import ConvexpError


class Pipeline(nn.Module):
    """Applies named stages one after the other.

    Args:
        stages: Name → anything callable that maps ``(B, C, H, W)`` to ``(B, C', H', W')``, in order.

    Raises:
        ConvexpError: If there is no stage or one is not callable; when applied, if a stage fails or returns anything
            but a ``(B, C', H', W')`` tensor.

    Example:
        >>> import torch
        >>> pipeline = Pipeline({"negate": torch.neg, "rectify": nn.ReLU()})
        >>> image = torch.tensor([[[[-1.0, 2.0]]]])
        >>> pipeline(image)
        tensor([[[[1., 0.]]]])
        >>> pipeline.intermediate(image)["negate"]
        tensor([[[[ 1., -2.]]]])
    """

    def __init__(self, stages: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        # The ignore: YAML may hold a list or nothing, whatever the annotation says.
        if not isinstance(stages, Mapping) or not stages:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConvexpError(f"stages={_one_line(stages)} must map at least one name to a callable on (B, C, H, W)")
        for name, stage in stages.items():
            if not callable(stage):
                raise ConvexpError(f"stage {name!r} is {_one_line(stage)}; must be callable on (B, C, H, W)")
        self.names = tuple(map(str, stages))  # a number is a name, too, in YAML
        # Not a ModuleDict, which refuses the names of its own methods: "float", "type", "values", …
        self.stages = nn.ModuleList(
            stage if isinstance(stage, nn.Module) else _Function(stage) for stage in stages.values()
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the output of the last stage."""
        for _, output in self._outputs(image):
            image = output
        return image

    def intermediate(self, image: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage, by name and in order."""
        return dict(self._outputs(image))

    def extra_repr(self) -> str:
        """Show the names."""
        return " → ".join(map(str, self.names))

    def _outputs(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        for name, stage in zip(self.names, self.stages, strict=True):
            try:
                output: object = stage(image)
            except Exception as error:
                reason = str(error) if isinstance(error, ConvexpError) else f"{type(error).__name__}: {error}"
                raise ConvexpError(f"stage {name!r}, given {tuple(image.shape)}: {_one_line(reason)}") from error
            if not isinstance(output, Tensor) or output.dim() != 4:
                found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
                raise ConvexpError(f"stage {name!r} returned {found}; must return a (B, C, H, W) tensor")
            image = output
            yield name, image


class _Function(nn.Module):
    """A plain callable among modules."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image)

    def extra_repr(self) -> str:
        return repr(self.function)


def _one_line(value: object) -> str:
    """Return the text of a value; that of modules and of PyTorch's errors may have several lines."""
    return " ".join(str(value).split())
