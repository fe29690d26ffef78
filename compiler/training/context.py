"""A module and the data it is trained on, checked to fit each other before an hour is spent."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.models.interface import check_fits, in_forwards_order, samples_of
from edgekiln.runtime.errors import ConfigError, InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.models.artifact import ModuleMeta
    from edgekiln.models.data.dataset import Dataset


REBUILD = "build the model for this data, and take over the weights by --init"
_SAMPLES = 4  # enough to run a network and see that two do the same


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What a training stage works on."""

    module: "nn.Module"
    meta: "ModuleMeta"
    data: "Dataset"  # with the module's own preprocessing: its weights were made for that

    @property
    def samples(self) -> "tuple[Tensor, ...]":
        """A few training samples, (N, …) of each input, as the module takes them."""
        return samples_of(self.data, _SAMPLES)

    @property
    def sample(self) -> "tuple[Tensor, ...]":
        """The first of them: (1, …) of each input."""
        return tuple(each[:1] for each in self.samples)


def open_context(src: Path, data: str, seed: int, allow: Collection[str] = ()) -> TrainingContext:
    """Load the module artifact `src`, and the data set `data` or, with "", the module's own.

    Args:
        allow: factories that `src` may name, as in `edgekiln.models.artifact.load_module`.

    Raises:
        ConfigError: no data set is named anywhere.
        InputError: a weight is not finite, or module and data do not fit; both shapes are named.
    """
    from edgekiln.models.artifact import load_module
    from edgekiln.models.data import load
    from edgekiln.models.data.sample_factory import not_called, references_in
    from edgekiln.models.data.told_numbers import check_are_own

    module, meta = load_module(src, allow)
    check_finite(module, str(src))
    if not (data or meta.data):
        raise ConfigError(
            f"{src}: does not name the data it is trained on",
            hint="say which: --data digits, or a folder, .npz, IDX or CIFAR file",
        )
    if not data and references_in(meta.data):
        raise not_called(f"{src}:", meta.data)
    dataset = load(data or meta.data, seed)
    if meta.preprocessing is not None:
        told = dataset.preprocessing if dataset.numbers_given else None
        check_are_own(data or meta.data, told, meta.preprocessing)
        dataset = replace(dataset, preprocessing=meta.preprocessing)
    dataset = in_forwards_order(dataset, module, str(src))
    check_fits(module, dataset, str(src), REBUILD)
    return TrainingContext(module=module, meta=replace(meta, data=data or meta.data), data=dataset)


_STATISTICS = ("running_mean", "running_var")  # buffers that training changes


def check_finite(module: "nn.Module", name: str) -> None:
    """Raise InputError if a parameter or statistic is NaN or infinite, or another buffer NaN: the
    infinities of a mask are meant.
    """
    learned = {key for key, _ in module.named_parameters()}
    for key, tensor in module.state_dict().items():
        may_be_infinite = key not in learned and not key.endswith(_STATISTICS)
        lost = tensor.isnan() if may_be_infinite else ~tensor.isfinite()
        if bad := int(lost.sum()):
            raise InputError(
                f"{name}: tensor {key} holds {bad} values that are NaN or infinite",
                hint="the training that made it diverged: take an earlier checkpoint",
            )
