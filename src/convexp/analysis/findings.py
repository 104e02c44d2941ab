"""What an inspection finds: numbers, pictures and sentences."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Findings:
    """Numbers for `inspect.json`, pictures, and sentences for the terminal.

    Args:
        facts: Plain values, as JSON has them.
        pictures: (3, H, W) uint8 by name.
        lines: One sentence each.
    """

    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    pictures: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    lines: list[str] = field(default_factory=list[str])

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.facts | other.facts, self.pictures | other.pictures, self.lines + other.lines)
