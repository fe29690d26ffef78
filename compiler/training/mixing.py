"""Samples made of two: mixup and CutMix. The loss is blended as the samples are."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.training.batch import Blend

if TYPE_CHECKING:
    from torch import Generator, Tensor


def drawn_blend(count: int, alpha: float, draw: "Generator") -> Blend:
    """Partners at random for `count` samples, and one share of all, from Beta(alpha, alpha)."""
    import torch

    # torch has no beta distribution that draws from a generator of its own.
    seed = int(torch.randint(0, 2**31, (), generator=draw))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    return Blend(partner=torch.randperm(count, generator=draw), share=share)


def mixed_up(x: "Tensor", blend: Blend) -> "Tensor":
    """share · x + (1 − share) · partner, of numbers (N, …).

    Zhang et al.: mixup, arXiv:1710.09412.
    """
    import torch

    return torch.lerp(x[blend.partner], x, blend.share)


def cut_mixed(images: "Tensor", blend: Blend, draw: "Generator") -> "tuple[Tensor, Blend]":
    """Images (N, H, W, C) with a rectangle of the partner's in them, at one random place.

    Yun et al.: CutMix, arXiv:1905.04899. The share becomes what the rectangle, which may lie partly
    outside, leaves of an image.
    """
    import torch

    height, width = images.shape[1:3]
    part = (1 - blend.share) ** 0.5
    half_high, half_wide = int(height * part) // 2, int(width * part) // 2
    row = int(torch.randint(0, height, (), generator=draw))
    column = int(torch.randint(0, width, (), generator=draw))
    top, bottom = max(row - half_high, 0), min(row + half_high, height)
    left, right = max(column - half_wide, 0), min(column + half_wide, width)
    found = images.clone()
    found[:, top:bottom, left:right] = images[blend.partner, top:bottom, left:right]
    covered = (bottom - top) * (right - left) / (height * width)
    return found, Blend(partner=blend.partner, share=1 - covered)
