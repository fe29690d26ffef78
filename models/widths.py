"""Give a freshly built module the widths of a pruned one, from the shapes of its tensors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Integers that attention modules keep about their widths. No tensor's shape tells them: 4 heads
# of 16 have the weights of 8 heads of 8.
HEAD_ATTRIBUTES = ("num_heads", "head_dim", "attn_dim")


def load_resized(module: "nn.Module", state: "Mapping[str, Tensor]") -> None:
    """`module.load_state_dict(state, strict=True)`, after giving every layer the widths of `state`.

    Raises:
        InputError: a tensor is missing, unknown, or of another rank than the module's.
    """
    # First the shapes, then the values: torch refuses to load a tensor of another shape.
    for name, child in module.named_modules():
        _resize(child, name, state)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(
            f"the tensors do not fit the model: {_first_line(error)}",
            hint="the model's code has changed since, or the tensors are another model's",
        ) from error


def head_attributes(module: "nn.Module") -> dict[str, dict[str, int]]:
    """What `set_head_attributes` needs: module name → attribute → value."""
    found: dict[str, dict[str, int]] = {}
    for name, child in module.named_modules():
        values = {key: child.__dict__[key] for key in HEAD_ATTRIBUTES if key in child.__dict__}
        if values:
            found[name] = values
    return found


def are_head_attributes(values: object) -> TypeGuard[dict[str, dict[str, int]]]:
    """Whether `values`, out of a file, has the form of what `head_attributes` records."""
    return isinstance(values, dict) and all(
        isinstance(name, str)
        and isinstance(attributes, dict)
        and attributes.keys() <= set(HEAD_ATTRIBUTES)
        and all(type(value) is int for value in attributes.values())
        for name, attributes in values.items()
    )


def set_head_attributes(module: "nn.Module", values: Mapping[str, Mapping[str, int]]) -> None:
    """Restore what `head_attributes` recorded. Raises InputError: it is another module's."""
    children = dict(module.named_modules())
    for name, attributes in values.items():
        if name not in children:
            raise InputError(f"no part of the model is named {name!r}", "build it again")
        child = children[name]
        for key, value in attributes.items():
            setattr(child, key, value)


def _resize(layer: "nn.Module", name: str, state: "Mapping[str, Tensor]") -> None:
    """Replace this layer's own tensors by empty ones of the right shape; tell it its width."""
    import torch
    from torch import nn

    prefix = f"{name}." if name else ""
    changed = False
    own = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
    for key, tensor in own:
        wanted = state.get(prefix + key)
        if wanted is None or wanted.shape == tensor.shape:
            continue
        if wanted.ndim != tensor.ndim:
            raise InputError(
                f"{prefix}{key}: has shape {tuple(wanted.shape)}, the model {tuple(tensor.shape)}",
                hint="the tensors are another model's",
            )
        empty = torch.empty(wanted.shape, dtype=tensor.dtype, device=tensor.device)
        if isinstance(tensor, nn.Parameter):
            setattr(layer, key, nn.Parameter(empty, requires_grad=tensor.requires_grad))
        else:
            setattr(layer, key, empty)
        changed = True
    if changed:
        _update_widths(layer)


def _update_widths(layer: "nn.Module") -> None:
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase

    match layer:
        case nn.Linear():
            layer.out_features, layer.in_features = layer.weight.shape
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            outputs, inputs_per_group = layer.weight.shape[:2]
            if layer.groups == layer.in_channels and layer.groups > 1:  # depthwise
                # Outputs of a channel stay as many; with the channels that are gone, their groups
                # are gone.
                layer.groups = outputs // (layer.out_channels // layer.groups)
            layer.out_channels = outputs
            layer.in_channels = inputs_per_group * layer.groups
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            layer.in_channels, outputs_per_group = layer.weight.shape[:2]
            # The weights of a transposed convolution are (in, out / groups, kernel…).
            layer.out_channels = outputs_per_group * layer.groups
        case _NormBase():
            width = layer.running_mean if layer.running_mean is not None else layer.weight
            layer.num_features = len(width)
        case nn.LayerNorm():
            layer.normalized_shape = tuple(layer.weight.shape)
        case nn.GroupNorm():
            layer.num_channels = len(layer.weight)
        case nn.PReLU():
            layer.num_parameters = len(layer.weight)


def _first_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    # The first line of torch's only says that there were errors.
    return lines[1] if len(lines) > 1 else lines[0]
