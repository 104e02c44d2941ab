"""What is seen: images from files, shipped photographs and generated shapes, brought to common sizes and channels."""

from convexp.images.alignment import center_crop, common_center
from convexp.images.conversion import resize, to_colour, to_gray
from convexp.images.files import find_images, read_image, write_image
from convexp.images.generated import shapes
from convexp.images.samples import photograph

__all__ = [
    "center_crop",
    "common_center",
    "find_images",
    "photograph",
    "read_image",
    "resize",
    "shapes",
    "to_colour",
    "to_gray",
    "write_image",
]
