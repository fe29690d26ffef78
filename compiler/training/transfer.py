"""Start from another network's weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.models.checkpoint import under_own_names
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

_COUNTER = "num_batches_tracked"  # changes nothing, and older checkpoints lack it


def load_matching_weights(module: "nn.Module", checkpoint: Path) -> list[str]:
    """Copy the tensors of `checkpoint` into `module` where name and shape agree.

    Returns:
        One line each kind of tensor that stayed as initialized, for the report.

    Raises:
        InputError: the file cannot be read, or no tensor fits.
    """
    from edgekiln.models.artifact import load_checkpoint

    own = module.state_dict()
    given = under_own_names(load_checkpoint(checkpoint), own)
    fitting = {
        name: tensor for name, tensor in given.items() if _shape(own, name) == tuple(tensor.shape)
    }
    # Buffers alone, which are few numbers of the same shape in many networks, are no start.
    if not any(name in dict(module.named_parameters()) for name in fitting):
        raise InputError(
            f"{checkpoint}: no tensor fits the model: it has {', '.join(list(given)[:3])}, …, "
            f"the model {', '.join(list(own)[:3])}, …",
            hint="give a checkpoint of the same architecture",
        )
    module.load_state_dict(fitting, strict=False)
    notes = []
    if differing := [
        f"{name} {tuple(given[name].shape)} → {tuple(own[name].shape)}"
        for name in given
        if name in own and name not in fitting
    ]:
        notes.append(f"init: other shape, initialized anew: {', '.join(differing)}")
    if missing := [name for name in own if name not in given and not name.endswith(_COUNTER)]:
        notes.append(f"init: not in the checkpoint, initialized anew: {', '.join(missing)}")
    if unknown := [name for name in given if name not in own]:
        notes.append(f"init: not in the model, left out: {', '.join(unknown)}")
    return notes


def _shape(state: "dict[str, Tensor]", name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
