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
    ZooEntry(
        name="airbench",
        factory="edgekiln.models.zoo.airbench:Airbench",
        input_shape=(3, 32, 32),
        data="digits",
        source="Jordan 2024, arXiv:2404.00498",
        description="whitening and six convolutions, for trainings of minutes; 1.97 M parameters",
    ),
    ZooEntry(
        name="mobilenetv1",
        factory="edgekiln.models.zoo.mobilenetv1:MobileNetV1",
        kwargs={"width": 0.25},
        input_shape=(3, 96, 96),
        data="digits?size=96",
        source=f"Howard et al. 2017, arXiv:1704.04861; {_TINY}",
        description="MLPerf Tiny person detection at width 0.25; 0.21 M parameters",
    ),
    ZooEntry(
        name="mobilenetv2",
        factory="edgekiln.models.zoo.mobilenetv2:MobileNetV2",
        input_shape=(3, 64, 64),
        data="digits?size=64",
        source="Sandler et al. 2018, arXiv:1801.04381",
        description="inverted residuals; 3.5 M parameters at width 1 and 1000 classes",
    ),
    ZooEntry(
        name="mobilenetv3",
        factory="edgekiln.models.zoo.mobilenetv3:MobileNetV3",
        input_shape=(3, 64, 64),
        data="digits?size=64",
        source="Howard et al. 2019, arXiv:1905.02244",
        description="MobileNetV3-Small: hard-swish, squeeze-excitation; 2.5 M parameters",
    ),
    ZooEntry(
        name="efficientnet-lite0",
        factory="edgekiln.models.zoo.efficientnet:EfficientNetLite",
        input_shape=(3, 64, 64),
        data="digits?size=64",
        source="Tan, Le 2019, arXiv:1905.11946",
        description="EfficientNet for integers, 3×3 and 5×5 depthwise; 4.7 M parameters",
    ),
    ZooEntry(
        name="squeezenet",
        factory="edgekiln.models.zoo.squeezenet:SqueezeNet",
        input_shape=(3, 64, 64),
        data="digits?size=64",
        source="Iandola et al. 2016, arXiv:1602.07360",
        description="SqueezeNet 1.1: fire modules, concatenations; 1.2 M parameters",
    ),
    ZooEntry(
        name="shufflenetv2",
        factory="edgekiln.models.zoo.shufflenetv2:ShuffleNetV2",
        input_shape=(3, 64, 64),
        data="digits?size=64",
        source="Ma et al. 2018, arXiv:1807.11164",
        description="split, depthwise and shuffle; 2.3 M parameters at width 1",
    ),
    ZooEntry(
        name="dscnn",
        factory="edgekiln.models.zoo.dscnn:DSCNN",
        input_shape=(1, 49, 10),
        data="tones",
        source=f"Zhang et al. 2017, arXiv:1711.07128; {_TINY}",
        description="MLPerf Tiny keyword spotting; 23 k parameters",
    ),
    ZooEntry(
        name="autoencoder",
        factory="edgekiln.models.zoo.autoencoder:Autoencoder",
        input_shape=(640,),
        data="hum",
        source=f"Koizumi et al. 2020, arXiv:2006.05822; {_TINY}",
        description="MLPerf Tiny anomaly detection; 0.27 M parameters",
    ),
    ZooEntry(
        name="vit",
        factory="edgekiln.models.zoo.vit:ViT",
        input_shape=(3, 32, 32),
        data="digits",
        source="Dosovitskiy et al. 2021, arXiv:2010.11929",
        description="small vision transformer, 4 blocks of 4 heads; 0.14 M parameters",
    ),
)

ENTRIES: Mapping[str, ZooEntry] = {entry.name: entry for entry in _ALL}
