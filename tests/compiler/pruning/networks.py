"""Small networks, one for each way in which channels can be coupled. All take (N, 3, 8, 8)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Classifier(nn.Module):
    """A body, global pooling and a head."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.inner(x))


class Concat(nn.Module):
    """[x, f(x)], as in DenseNet."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.inner(x)], 1)


class Squeeze(nn.Module):
    """Squeeze and excite."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.bottom = conv(3, 16), conv(16, 32)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.merge = conv(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.up(self.bottom(F.max_pool2d(fine, 2)))
        return self.merge(torch.cat([fine, coarse], 1))


class FusedAttention(nn.Module):
    """q, k and v in one layer, and the head's width in an attribute, as in timm."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.attn_dim = dim
        self.scale = self.head_dim**-0.5  # stays the unpruned head's
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, self.attn_dim))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 2, stride=2)
        self.norm = nn.LayerNorm(32)
        self.attention = FusedAttention(32, 2)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.attention(self.norm(x))
        return self.head((x + self.mlp(self.norm(x))).mean(1))


class ZeroPadShortcut(nn.Module):
    """Option A of the CIFAR ResNets: the shortcut has no weights and pads with zero channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv(3, 16), conv(16, 32)
        self.last = conv(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.block(x) + F.pad(x, (0, 0, 0, 0, 8, 8)))
        return self.last(x)


class ChannelShuffle(nn.Module):
    """ShuffleNet's: channels of two halves, interleaved."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def residual() -> nn.Module:
    return Classifier(
        nn.Sequential(conv(3, 16), Residual(conv(16, 16)), Residual(conv(16, 16))), 16
    )


def depthwise() -> nn.Module:
    """An inverted residual."""
    inner = nn.Sequential(conv(16, 48, 1), conv(48, 48, groups=48), conv(48, 16, 1))
    return Classifier(nn.Sequential(conv(3, 16), Residual(inner)), 16)


def grouped() -> nn.Module:
    """A ResNeXt block."""
    inner = nn.Sequential(conv(32, 32, 1), conv(32, 32, groups=4), conv(32, 32, 1))
    return Classifier(nn.Sequential(conv(3, 32), Residual(inner)), 32)


def dense() -> nn.Module:
    body = nn.Sequential(conv(3, 16), Concat(conv(16, 16)), Concat(conv(32, 16)), conv(48, 16))
    return Classifier(body, 16)


def unet() -> nn.Module:
    return Classifier(UNet(), 16)


def squeeze_excite() -> nn.Module:
    return Classifier(nn.Sequential(conv(3, 32), Squeeze(32), conv(32, 32)), 32)


def transformer() -> nn.Module:
    return Transformer()


def flattened() -> nn.Module:
    """A linear layer that sees every pixel of every channel."""
    return nn.Sequential(
        conv(3, 16), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def unaligned() -> nn.Module:
    return Classifier(nn.Sequential(conv(3, 20), conv(20, 30)), 30)


def zero_pad() -> nn.Module:
    return Classifier(ZeroPadShortcut(), 16)


def shuffled() -> nn.Module:
    return Classifier(nn.Sequential(conv(3, 16), conv(16, 16), ChannelShuffle(), conv(16, 16)), 16)


SOUND = (
    residual,
    depthwise,
    grouped,
    dense,
    unet,
    squeeze_excite,
    transformer,
    flattened,
    unaligned,
)
# A few samples of what stands for data.
EXAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
