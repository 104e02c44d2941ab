"""Where a trained filter goes: onto any image, and into other software."""
