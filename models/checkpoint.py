"""The tensors in what others save: bare state dicts, and those that training frameworks wrap."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Where the state dict is kept, the likeliest first: by our own artifacts, Lightning and timm,
# PyTorch's tutorials, torchvision's references.
_CONTAINERS = ("state", "state_dict", "model_state_dict", "model_state", "model", "net", "network")
_COMPILED = "_orig_mod."  # torch.compile's, anywhere in a name
_PARALLEL = "module."  # DistributedDataParallel's
_DEEPEST = 3  # containers in containers


def tensors_in(content: object, depth: int = 0) -> "dict[str, Tensor]":
    """The tensors of a loaded checkpoint by name; empty when there are none.

    Names lose what `torch.compile` and data-parallel training put into them. What else is saved
    beside the tensors, such as epochs and optimizers, is left out.
    """
    import torch

    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return {}
    # Containers first: beside one there may be tensors that are no weights, such as a best score.
    for key in _CONTAINERS:
        if found := tensors_in(content.get(key), depth + 1):
            return found
    tensors = {
        str(name).replace(_COMPILED, ""): value
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    return {name.removeprefix(_PARALLEL): tensor for name, tensor in tensors.items()}


def under_own_names(
    given: "Mapping[str, Tensor]", own: "Mapping[str, Tensor]"
) -> "dict[str, Tensor]":
    """`given` without the prefix that keeps most of its names from those of `own`.

    Lightning saves a model as the attribute of another, so that all its names begin with `model.`
    or whatever the attribute is called. What does not begin with it belongs to something else, a
    loss for instance, and is left out. Where no prefix helps, all names stay.
    """

    def matches(prefix: str) -> int:
        return sum(
            name.startswith(prefix) and _fits(given, name, own, name.removeprefix(prefix))
            for name in given
        )

    prefixes = {
        ".".join((*parts[:count], ""))
        for parts in (name.split(".") for name in given)
        # "model.", or "module.model." where it was trained in parallel as well.
        for count in (1, 2)
        if len(parts) > count
    }
    best = max(
        ["", *sorted(prefixes, key=lambda p: (len(p), p))], key=matches
    )  # the first of equally good ones
    return {
        name.removeprefix(best): tensor for name, tensor in given.items() if name.startswith(best)
    }


def _fits(
    given: "Mapping[str, Tensor]", name: str, own: "Mapping[str, Tensor]", own_name: str
) -> bool:
    return own_name in own and given[name].shape == own[own_name].shape
