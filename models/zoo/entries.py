"""The zoo's table of contents. Importable without torch: `edgekiln models list` prints it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekiln.models.spec import Value

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One model of the zoo, as built on its default data set."""

    name: str
    factory: str  # "module:function"
    input_shape: tuple[int, ...]  # of one sample: (C, H, W), or (F,)
    data: str  # default data set
    source: str
    description: str
    kwargs: Mapping[str, Value] = field(default_factory=dict)

    @property
    def recipe(self) -> Path:
        """The ready recipe, a TOML file."""
        return RECIPES / f"{self.name}.toml"


_HE = "He et al. 2015, arXiv:1512.03385"
_TINY = "Banbury et al. 2021 (MLPerf Tiny), arXiv:2106.07597"

_ALL = (
    ZooEntry(
        name="resnet8",
        factory="edgekiln.models.zoo.resnet:resnet8",
        input_shape=(3, 32, 32),
        data="digits",
        source=_TINY,
        description="MLPerf Tiny image classification; 78 k parameters",
    ),
    ZooEntry(
        name="resnet18",
        factory="edgekiln.models.zoo.resnet:resnet18",
        input_shape=(3, 64, 64),
        data="digits?size=64",
        source=_HE,
        description="ImageNet network with a 7×7 stem; 11.7 M parameters at width 64",
    ),
    ZooEntry(
        name="resnet20",
        factory="edgekiln.models.zoo.resnet:resnet20",
        input_shape=(3, 32, 32),
        data="digits",
        source=_HE,
        description="CIFAR network, projection shortcuts; 0.27 M parameters",
    ),
    ZooEntry(
        name="resnet56",
        factory="edgekiln.models.zoo.resnet:resnet56",
        input_shape=(3, 32, 32),
        data="digits",
        source=_HE,
        description="CIFAR network, projection shortcuts; 0.86 M parameters",
    ),
)

ENTRIES: Mapping[str, ZooEntry] = {entry.name: entry for entry in _ALL}
