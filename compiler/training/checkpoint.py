"""One file that holds all a training needs to go on, written atomically."""

from pathlib import Path
from typing import Any

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.files import written_whole

FORMAT = 5


State = dict[str, Any]  # tensors, and what belongs to them


def save(path: Path, state: State) -> None:
    """Write `state` (tensors, numbers, strings and containers of them) to `path`.

    A killed write leaves the previous checkpoint in place.
    """
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as stream:
        torch.save({"format": FORMAT, **state}, stream)


def load(path: Path) -> State | None:
    """What `save` wrote, or None when there is no such file.

    Raises:
        InputError: the file is damaged or of another format.
    """
    import torch

    if not path.exists():
        return None
    try:
        # `weights_only`: a pickle could run code. On the CPU, whatever device wrote it.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises pickle, zip and runtime errors alike
        raise InputError(
            f"{path}: not a readable checkpoint", hint="delete it to start over"
        ) from e
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(
            f"{path}: not a checkpoint of format {FORMAT}", hint="delete it to start over"
        )
    return state
