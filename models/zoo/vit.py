"""A small vision transformer.

Dosovitskiy et al.: An Image is Worth 16x16 Words, 2021 (arXiv:2010.11929), section 3.1, with mean
pooling in place of the class token (Beyer, Zhai, Kolesnikov: Better plain ViT baselines, 2022,
arXiv:2205.01580).
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q kᵀ / √d) v for each head, then one linear layer.

    The width of a head follows from the tensors, so a pruned one needs no bookkeeping; the scale
    stays the unpruned head's.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._heads(layer(x)) for layer in (self.q, self.k, self.v))  # [B, H, S, D]
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)  # [B, H, S, S]
        mixed = (weights @ v).transpose(1, 2).flatten(2)  # [B, S, H*D]
        return self.project(mixed)  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        """[B, S, H*D] → [B, H, S, D]."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


class TransformerBlock(nn.Module):
    """Pre-norm transformer encoder block: equations 2 and 3."""

    def __init__(self, dim: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class ViT(nn.Module):
    """Patches, learned positions, encoder blocks, mean over the patches, one linear layer.

    Args:
        image_size: height and width of the image, a multiple of `patch`.
        mlp_ratio: hidden width of the MLPs as a multiple of `dim`.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        patch: int = 4,
        dim: int = 64,
        depth: int = 4,
        num_heads: int = 4,
        mlp_ratio: int = 2,
    ) -> None:
        super().__init__()
        if image_size % patch or dim % num_heads:
            raise ValueError(
                f"image_size {image_size} must be a multiple of patch {patch}, "
                f"and dim {dim} of num_heads {num_heads}"
            )
        self.patches = nn.Conv2d(in_channels, dim, patch, stride=patch)
        self.positions = nn.Parameter(torch.empty(1, (image_size // patch) ** 2, dim))
        # As in the authors' own code.
        nn.init.normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(
            *(TransformerBlock(dim, num_heads, dim * mlp_ratio) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, image_size, image_size) → logits (N, classes)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions  # [B, S, dim]
        return self.head(self.norm(self.blocks(tokens)).mean(1))  # type: ignore[no-any-return]
