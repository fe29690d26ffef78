"""Hints: inner layers of a network that learn from those of its teacher (FitNets; Romero et al.,
arXiv:1412.6550).

A regressor, a convolution of 1×1 or a linear layer, brings the network's features to the width of
the teacher's; it is trained beside the network and then thrown away. The paper trains by hints
first and by the answers then; here both are one loss, β·(mean squared error) beside the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edgekiln.models.module_ends import named_outputs
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn

    Shape = tuple[int, ...]

AUTO = "auto"
HINT = "hint:"  # before the place of a pair, where features go with the outputs
_ASK = "name the layers: --hint student.layer=teacher.layer"


@dataclass(frozen=True, kw_only=True)
class HintPair:
    """A layer of the network, and the layer of its teacher that it learns from."""

    student: str
    teacher: str


def without_hints(outputs: "Mapping[str, Tensor]") -> "Mapping[str, Tensor]":
    """The outputs alone."""
    return {name: output for name, output in outputs.items() if not name.startswith(HINT)}


def hint_distance(
    outputs: "Mapping[str, Tensor]", taught: "Mapping[str, Tensor]"
) -> "Tensor | None":
    """The mean squared error of the features, added up over the pairs; None without hints."""
    from torch.nn import functional as F

    losses = [
        F.mse_loss(outputs[name].float(), taught[name].float())
        for name in outputs
        if name.startswith(HINT)
    ]
    return sum(losses[1:], start=losses[0]) if losses else None


def pair_layers(
    student: "nn.Module", teacher: "nn.Module", samples: "Sequence[Tensor]", wanted: Sequence[str]
) -> tuple[HintPair, ...]:
    """The pairs that a user names as "student.layer=teacher.layer", or `AUTO`: the ends of the
    stages that both networks have, which are the last layers with features of one size.

    Raises:
        ConfigError: no such layer, or features that no regressor brings together.
    """
    ours, theirs = (_features(network, samples) for network in (student, teacher))
    if tuple(wanted) == (AUTO,):
        return _stage_ends(ours, theirs)
    pairs = []
    for text in wanted:
        name, equals, other = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigError(f"hint = {text!r}: names one layer", f"{_ASK}, or --hint {AUTO}")
        for layer, known, whose in ((name, ours, "student"), (other, theirs, "teacher")):
            if layer not in known:
                raise ConfigError(
                    f"hint = {text!r}: the {whose} has no layer {layer!r} that gives one tensor "
                    "once a forward pass",
                    did_you_mean(layer, known, what="layers are"),
                )
        regressor(ours[name], theirs[other], text)
        pairs.append(HintPair(student=name, teacher=other))
    return tuple(pairs)


def regressors_of(
    pairs: Sequence[HintPair],
    student: "nn.Module",
    teacher: "nn.Module",
    samples: "Sequence[Tensor]",
) -> "list[nn.Module]":
    """A new regressor for each pair, with random weights."""
    ours, theirs = (_features(network, samples) for network in (student, teacher))
    return [
        regressor(ours[pair.student], theirs[pair.teacher], f"{pair.student}={pair.teacher}")
        for pair in pairs
    ]


def regressor(ours: "Shape", theirs: "Shape", text: str) -> "nn.Module":
    """What brings features (N, …) of the first shape to the second, by a product for each place.

    Raises:
        ConfigError: there is no such layer; the message has both shapes.
    """
    from torch import nn

    if len(ours) == len(theirs):
        # Channels come behind the samples in images and sequences of convolutions, and last in
        # those of transformers.
        if ours[2:] == theirs[2:]:
            match len(ours):
                case 2:
                    return nn.Linear(ours[1], theirs[1])
                case 3:
                    return nn.Conv1d(ours[1], theirs[1], kernel_size=1)
                case 4:
                    return nn.Conv2d(ours[1], theirs[1], kernel_size=1)
        if ours[1:-1] == theirs[1:-1]:
            return nn.Linear(ours[-1], theirs[-1])
    raise ConfigError(
        f"hint = {text!r}: features of {_sizes(ours)} cannot learn from those of {_sizes(theirs)}",
        "pair layers whose features differ in their channels alone",
    )


def _stage_ends(ours: "Mapping[str, Shape]", theirs: "Mapping[str, Shape]") -> tuple[HintPair, ...]:
    """The last layers of each size, of what has most axes: images, then sequences, then numbers."""
    for axes in (4, 3, 2):
        ends, others = (_last_of_each_size(found, axes) for found in (ours, theirs))
        pairs = tuple(
            HintPair(student=name, teacher=others[size])
            for size, name in ends.items()
            if size in others
        )
        if pairs:
            return pairs
    raise ConfigError(
        "hint = 'auto': no layers of the two networks have features of one size", _ASK
    )


def _last_of_each_size(found: "Mapping[str, Shape]", axes: int) -> "dict[Shape, str]":
    """Size, without the channels → the last layer of that size. A single pixel is no picture."""
    return {
        shape[2:]: name
        for name, shape in found.items()
        if len(shape) == axes and shape[2:] != (1, 1)
    }


def _features(network: "nn.Module", samples: "Sequence[Tensor]") -> "dict[str, Shape]":
    """The shapes, samples first, of the layers' outputs, in the order in which they are computed.

    Layers that are asked more than once a pass, or give several tensors, are left out, and so is
    what gives the network's own outputs, which are no inner layer.
    """
    import torch

    shapes: dict[str, Shape] = {}
    given: dict[str, object] = {}  # held, so that no two of them can be one object
    calls: Counter[str] = Counter()

    def note(name: str, _layer: "nn.Module", _given: object, output: object) -> None:
        calls[name] += 1
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            shapes[name], given[name] = tuple(output.shape), output

    hooks = [
        layer.register_forward_hook(partial(note, name))
        for name, layer in network.named_modules()
        if name
    ]
    training = network.training
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            answers = named_outputs(
                network.eval()(*(sample.to(device) for sample in samples)), "the module"
            )
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
    return {
        name: shape
        for name, shape in shapes.items()
        if calls[name] == 1
        and shape[0] == len(samples[0])
        and not any(given[name] is answer for answer in answers.values())
    }


def _sizes(shape: "Shape") -> str:
    return "×".join(map(str, shape[1:]))
