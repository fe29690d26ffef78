"""What a module must take and give to be trained and built: one tensor each."""

import inspect
from typing import TYPE_CHECKING

from edgekiln.models.data.dataset import Dataset
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


def samples_of(dataset: Dataset, count: int) -> "Tensor":
    """The first training samples as a module takes them, (count, …), float32."""
    import torch

    from edgekiln.runtime.inputs import preprocess

    return torch.from_numpy(preprocess(dataset.train.x[:count], dataset.preprocessing))


def one_output(module: "nn.Module", dataset: Dataset, name: str) -> "Tensor":
    """What `module`, in evaluation mode from now on, gives for one sample of `dataset`.

    Args:
        name: of the module, for messages.

    Raises:
        InputError: it takes several inputs, does not take this sample, or gives several outputs.
    """
    import torch

    _check_inputs(module, name)
    shape = dataset.input_shape
    try:
        with torch.no_grad():
            output = module.eval()(samples_of(dataset, 1))
    except Exception as error:  # whatever the user's own module does
        resize = ", or have it resized: --data NAME?size=32" if len(shape) == 3 else ""
        raise InputError(
            f"{name}: does not take the samples of {dataset.name}, shape {shape}: "
            f"{_first_line(error)}{_first_weight(module)}",
            hint=f"choose other data{resize}",
        ) from error
    if not isinstance(output, torch.Tensor):
        raise InputError(
            f"{name}: gives {_described(output)}, expected one tensor",
            hint="wrap it in a module whose forward returns the one output that counts",
        )
    return output


def _check_inputs(module: "nn.Module", name: str) -> None:
    """Raise InputError unless `forward` can be called with one argument."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        parameter.name
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.kind in positional and parameter.default is inspect.Parameter.empty
    ]
    if len(needed) > 1:
        raise InputError(
            f"{name}: takes {len(needed)} inputs: {', '.join(needed)}; a data set gives one",
            hint="wrap it in a module whose forward takes the samples alone",
        )


def _described(output: object) -> str:
    match output:
        case dict():
            return f"a dict of {', '.join(map(str, output)) or 'nothing'}"
        case tuple() | list():
            return f"a {type(output).__name__} of {len(output)}"
        case _:
            return f"a {type(output).__name__}"


def _first_weight(module: "nn.Module") -> str:
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            return f"; the model's first weight {name} has {tuple(parameter.shape)}"
    return "; the model has no weights"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
