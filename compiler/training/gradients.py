"""The gradients of a loss, or what in the user's network is in their way."""

from typing import TYPE_CHECKING

from edgekiln.runtime.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

# How torch begins to say that there are none, and what a user does about it.
_OBSTACLES = {
    "one of the variables needed for gradient computation": (
        "forward() writes over values that its gradients need",
        "write x = x + y there in place of x += y, and leave out inplace=True",
    ),
    "element 0 of tensors does not require grad": (
        "no parameter has a part in the loss",
        "leave out torch.no_grad() and detach() in forward(), and let parameters require gradients",
    ),
    "Trying to backward through the graph a second time": (
        "forward() keeps values of the call before",
        "detach() what it keeps",
    ),
}


def differentiate(loss: "Tensor") -> None:
    """Add the gradients of a loss to the parameters'.

    Raises:
        TrainingError: forward() is written so that there are none.
    """
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        for beginning, (what, hint) in _OBSTACLES.items():
            if str(error).startswith(beginning):
                raise TrainingError(f"the network cannot be trained: {what}", hint=hint) from error
        raise
