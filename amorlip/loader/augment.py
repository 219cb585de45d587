"""The augmentation of training images: a random crop, resized."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amorlip.config.recipe import Augmentation

RATIO = (3 / 4, 4 / 3)
"""Smallest and largest width/height of a crop, as in OpenCLIP's transform."""
TRIES = 10


def train_transform(size: int | tuple[int, int], augmentation: Augmentation) -> RandomResizedCrop:
    """OpenCLIP's training transform for images of `size` [pixels]: a random crop, resized (bicubic), before its mean
    and standard deviation are applied."""
    return RandomResizedCrop(size, (augmentation.crop_scale_min, augmentation.crop_scale_max))


class RandomResizedCrop:
    """Pixels (H, W, 3) uint8 → (3, h, w) uint8: a crop of random area and shape, as torchvision's class of that name.

    The crop's share of the area is uniform in `scale`, and the logarithm of its width/height is uniform in `RATIO`. The
    first of ten such crops that fits is taken, at a uniform place; if none fits, the largest central crop in `RATIO`.
    PyTorch's bicubic filter for uint8 gives Pillow's levels up to rounding.

    Args:
        size: h and w, or the side of a square [pixels].
        scale: smallest and largest area of the crop, as fractions of the image's.
    """

    def __init__(self, size: int | tuple[int, int], scale: tuple[float, float]) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.scale = scale

    def __call__(self, pixels: np.ndarray, generator: random.Random) -> Tensor:
        """A new crop of `pixels`; its memory is in channels_last order."""
        top, left, height, width = self.box(pixels.shape[0], pixels.shape[1], generator)
        crop = torch.from_numpy(pixels[top : top + height, left : left + width]).permute(2, 0, 1)[None]
        # The filter takes any layout, but is a quarter faster on a compact copy.
        crop = crop.contiguous(memory_format=torch.channels_last)
        return F.interpolate(crop, self.size, mode="bicubic", antialias=True)[0]

    def box(self, height: int, width: int, generator: random.Random) -> tuple[int, int, int, int]:
        """Top, left, height and width of a new crop of an image of `height` × `width` [pixels]."""
        for _ in range(TRIES):
            area = height * width * generator.uniform(*self.scale)
            ratio = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                top = int(generator.random() * (height - h + 1))
                left = int(generator.random() * (width - w + 1))
                return top, left, h, w
        h, w = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
        return (height - h) // 2, (width - w) // 2, h, w
