"""What several families are made of."""

from collections.abc import Iterator

from torch import nn

from edgekiln.runtime.errors import InputError


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


MOST_REDUCTION = 32  # of networks for ImageNet: five halvings


def strides_kept(reduction: int) -> Iterator[int]:
    """The strides, one after another, where a network for ImageNet halves its images.

    Args:
        reduction: how many times smaller than the image the last layer's map is, a power of 2 up to
            32. Below 32 the first halvings are left out, so that small images have maps to learn
            from: 8 gives 32×32 images the resolutions that 128×128 ones have at 32.

    Raises:
        InputError: it is none of these.
    """
    if reduction not in (1, 2, 4, 8, 16, MOST_REDUCTION):
        raise InputError(
            f"reduction = {reduction}: no network has it", hint="give 32, 16, 8, 4, 2 or 1"
        )
    halvings = reduction.bit_length() - 1
    most = MOST_REDUCTION.bit_length() - 1
    return iter([1] * (most - halvings) + [2] * halvings)
