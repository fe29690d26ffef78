"""A network whose inner layers can be seen."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from edgekiln.compiler.training.hints import HINT
from edgekiln.models.module_ends import named_outputs

if TYPE_CHECKING:
    from torch import Tensor


class Watched(nn.Module):
    """A network that gives the features of some of its layers beside its outputs.

    Args:
        layers: their names; the features are called by their places.
        regressors: what the features go through, one each; (): nothing.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[str], regressors: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.network = network
        self.regressors = nn.ModuleList(regressors)
        self._seen: dict[int, Tensor] = {}
        self._hooks = [
            network.get_submodule(name).register_forward_hook(partial(self._note, place))
            for place, name in enumerate(layers)
        ]

    def forward(self, *inputs: "Tensor") -> "dict[str, Tensor]":
        """The outputs and the features, each by name."""
        found = named_outputs(self.network(*inputs), "the module")
        for place, feature in sorted(self._seen.items()):
            brought = self.regressors[place](feature) if len(self.regressors) else feature
            found[f"{HINT}{place}"] = brought
        self._seen.clear()
        return found

    def release(self) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()

    def _note(self, place: int, _layer: nn.Module, _given: object, output: "Tensor") -> None:
        self._seen[place] = output
