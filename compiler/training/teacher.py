"""Where a teacher comes from, and how it is asked."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.training.context import REBUILD, TrainingContext, check_finite
from edgekiln.models.copies import copied
from edgekiln.models.interface import check_fits
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.runtime.manifest import Preprocessing


def from_artifact(path: Path, student: TrainingContext, allow: Collection[str] = ()) -> "nn.Module":
    """The trained module in `path`, taking the student's input.

    Args:
        allow: factories that `path` may name, as in `edgekiln.models.artifact.load_module`.

    Raises:
        InputError: it cannot be read, or does not fit the data.
    """
    from edgekiln.models.artifact import load_module

    module, meta = load_module(path, allow)
    check_finite(module, str(path))
    check_fits(module, student.data, str(path), REBUILD)
    if meta.preprocessing and student.meta.preprocessing:
        adapt_input(module, meta.preprocessing, student.meta.preprocessing, str(path))
    return module


def from_name(name: str, student: TrainingContext, path: Path, seed: int) -> "nn.Module":
    """A zoo model or factory, built for the student's data; the weights are the factory's own.

    Args:
        path: where its artifact lies, or goes.
    """
    from edgekiln.models import artifact

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        artifact.create(path, name, student.data, student.meta.data, seed=seed)
    module, _ = artifact.load_module(path, {name.partition("?")[0]})
    return module


def frozen_copy(module: "nn.Module") -> "nn.Module":
    """A network as it is now, to teach its own smaller self."""
    return copied(module).eval().requires_grad_(False)


def trainable_copy(module: "nn.Module") -> "nn.Module":
    """A network that begins where another one does."""
    return copied(module)


def adapt_input(
    teacher: "nn.Module", own: "Preprocessing", given: "Preprocessing", name: str
) -> None:
    """Let `teacher`, trained with preprocessing `own`, take input preprocessed as `given`.

    Two data splits differ in the last digits of mean and deviation; other layouts or colors cannot
    be made up for.

    Raises:
        InputError: layout or color differ.
    """
    if own == given:
        return
    if (own.layout, own.color) != (given.layout, given.color) or own.layout == "N*":
        raise InputError(
            f"{name}: the teacher takes {own.color} {own.layout} input, the student "
            f"{given.color} {given.layout}, normalized otherwise",
            hint="train the teacher on the student's data",
        )
    # Both are affine in the pixel: pixel = (x * std + mean) / scale.
    import torch

    shape = (1, -1, 1, 1) if own.layout == "NCHW" else (1, 1, 1, -1)
    mean, std = (torch.tensor(v).view(shape) for v in (given.mean, given.std))
    own_mean, own_std = (torch.tensor(v).view(shape) for v in (own.mean, own.std))
    # (pixel · own_scale − own_mean) / own_std, with the pixel from above.
    factor = std / own_std * (own.scale / given.scale)
    offset = (mean * (own.scale / given.scale) - own_mean) / own_std

    def convert(_module: "nn.Module", inputs: "tuple[Tensor, ...]") -> "tuple[Tensor, ...]":
        return (inputs[0] * factor.to(inputs[0]) + offset.to(inputs[0]), *inputs[1:])

    teacher.register_forward_pre_hook(convert)
