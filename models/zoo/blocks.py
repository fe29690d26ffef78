"""What several families are made of."""

from torch import nn


def conv_bn_relu(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int],
    depthwise: bool = False,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution without bias, batch normalization, activation."""
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding,
            groups=inputs if depthwise else 1,
            # The batch norm behind has an offset of its own, and takes any other away.
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
        activation(),
    )


def rounded_width(channels: float, multiple: int = 8) -> int:
    """The multiple of 8 nearest to `channels`, at most 10 % below it (MobileNetV2's rule)."""
    width = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return width if width >= 0.9 * channels else width + multiple
