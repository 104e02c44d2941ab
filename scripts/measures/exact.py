"""What the statistics of images cost."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from convexp.exact import gather, solve
from measures.sides import pairs_of, row


def growth(rounds: int, quick: bool) -> None:
    """Statistics and steps as the image's sides double."""

    def seconds(side: int, what: Callable[[Any, Any], object], repeat: int) -> float:
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        layer = nn.Conv2d(3, 1, 3)
        statistics = gather(layer, [(image, image[:, :1])])
        start = time.perf_counter()
        for _ in range(repeat):
            what(layer, statistics if repeat > 1 else [(image, image[:, :1])])
        return (time.perf_counter() - start) / repeat

    for name, what, repeat, limit in (
        ("statistics", gather, 1, "4"),
        ("solving them", lambda _, statistics: solve(statistics), 20, "1"),
    ):
        small, large = pairs_of(max(rounds, 5), *(lambda s=s, w=what, r=repeat: seconds(s, w, r) for s in (512, 1024)))
        row(f"image sides × 2: {name}", small, large, limit=f"about {limit}", faster=False)
    layer = nn.Conv2d(3, 1, 31, bias=False)
    image = torch.rand(1, 3, 300, 451, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    solve(gather(layer, [(image, image[:, :1])]))
    print(f"\n31×31 kernel of three colours (2,883 unknowns, 66 MB of G): {time.perf_counter() - start:.2f} s")
