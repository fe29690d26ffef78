"""A module and the data it is trained on, checked to fit each other before an hour is spent."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import ConfigError, InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.models.artifact import ModuleMeta
    from edgekiln.models.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a training stage works on."""

    module: "nn.Module"
    meta: "ModuleMeta"
    data: "Dataset"  # with the module's own preprocessing: its weights were made for that

    @property
    def example(self) -> "Tensor":
        """A sample of zeros, (1, …), as the module takes it."""
        import torch

        return torch.zeros(1, *self.data.input_shape)


def open_setting(src: Path, data: str, seed: int, allow: Collection[str] = ()) -> Setting:
    """Load the module artifact `src`, and the data set `data` or, with "", the module's own.

    Args:
        allow: factories that `src` may name, as in `edgekiln.models.artifact.load_module`.

    Raises:
        ConfigError: no data set is named anywhere.
        InputError: a weight is not finite, or module and data do not fit; both shapes are named.
    """
    from edgekiln.models.artifact import load_module
    from edgekiln.models.data import load

    module, meta = load_module(src, allow)
    check_finite(module, str(src))
    if not (data or meta.data):
        raise ConfigError(
            f"{src}: does not name the data it is trained on",
            hint="say which: --data digits, or a folder, .npz, IDX or CIFAR file",
        )
    dataset = replace(load(data or meta.data, seed), preprocessing=meta.preprocessing)
    check_fits(module, dataset, str(src))
    return Setting(module=module, meta=replace(meta, data=data or meta.data), data=dataset)


def check_finite(module: "nn.Module", name: str) -> None:
    """Raise InputError if a parameter or statistic is NaN or infinite."""
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).sum())
            raise InputError(
                f"{name}: tensor {key} holds {bad} values that are NaN or infinite",
                hint="the training that made it diverged: take an earlier checkpoint",
            )


def check_fits(module: "nn.Module", data: "Dataset", name: str) -> None:
    """Raise InputError unless `module` turns a sample of `data` into what its task asks for."""
    import torch

    shape = data.input_shape
    try:
        with torch.no_grad():
            output = module.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"{name}: the samples of {data.name} have shape {shape}, "
            f"{_first_weight(module)}: {_first_line(error)}",
            hint="choose other data, or have it resized: --data NAME?size=32",
        ) from error
    wanted = (1, *shape) if data.task == "reconstruction" else (1, len(data.classes))
    if tuple(output.shape) != wanted:
        raise InputError(
            f"{name}: gives {tuple(output.shape)} for one sample of {data.name}, "
            f"whose {data.task} needs {wanted}",
            hint="build the model for this data, and take over the weights by --init",
        )


def _first_weight(module: "nn.Module") -> str:
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            return f"the model's first weight {name} has {tuple(parameter.shape)}"
    return "the model has no weights"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
