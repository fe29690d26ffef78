"""A small network for digits, quick to train, whose channels can be cut."""

from torch import nn


def small(in_channels: int = 1, classes: int = 10, width: int = 16) -> nn.Module:
    def block(inner: int, outer: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(outer), nn.ReLU()]

    return nn.Sequential(
        *block(in_channels, width, 2),
        *block(width, 2 * width, 1),
        *block(2 * width, 2 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, classes),
    )
