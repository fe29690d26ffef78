"""The suite: networks people put on edge devices, untrained unless a file with weights is given.

Latency does not depend on the weights' values, but for x86 without VNNI: there trained weights,
most of which are small, allow for what these do not (`compiler/kernels/conv2d/pairing.py`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.build.recipe import PRECISIONS, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Network:
    """`model` as `edgekiln build` takes it; `data` calibrates the quantizer."""

    name: str
    model: str
    data: str

    @property
    def slug(self) -> str:
        """The name as a folder has it, e.g. "resnet-8-32x32"."""
        return self.name.lower().replace("×", "x").replace(" ", "-")


_IMAGES = "digits?size=224&limit=600"
# DeiT-tiny's shape (Touvron et al. 2021, arXiv:2012.12877, table 1), with mean pooling.
_DEIT = "vit?image_size=224&patch=16&dim=192&depth=12&num_heads=3&mlp_ratio=4"

X86 = (
    Network(name="ResNet-8 32×32", model="resnet8", data="digits"),
    Network(name="MobileNetV1-0.25 96×96", model="mobilenetv1", data="digits?size=96"),
    Network(name="DS-CNN 49×10", model="dscnn", data="tones"),
    Network(name="autoencoder 640", model="autoencoder", data="hum"),
    Network(name="MobileNetV2-1.0 224×224", model="mobilenetv2", data=_IMAGES),
    Network(name="MobileNetV3-small 224×224", model="mobilenetv3", data=_IMAGES),
    Network(name="EfficientNet-lite0 224×224", model="efficientnet-lite0", data=_IMAGES),
    Network(name="SqueezeNet 224×224", model="squeezenet", data=_IMAGES),
    Network(name="ShuffleNetV2 224×224", model="shufflenetv2", data=_IMAGES),
    Network(name="ResNet-18 224×224", model="resnet18", data=_IMAGES),
    Network(name="ResNet-20 32×32", model="resnet20", data="digits"),
    Network(name="ViT 32×32", model="vit", data="digits"),
    Network(name="DeiT-tiny 224×224", model=_DEIT, data=_IMAGES),
)


SUITES = {"x86": X86}


@dataclass(frozen=True, kw_only=True)
class CompiledNetwork:
    """What our build made of a network, by precision, and what it made it from."""

    bundles: "Mapping[Precision, Path]"
    models: "Mapping[Precision, Path]"  # ONNX
    module: Path
    module_sha256: str


def export(network: Network, files: "Mapping[Precision, Path]") -> None:
    """Write the network as ONNX, float and int8, to `files`, unless they are there."""
    import shutil

    from edgekiln.compiler.build import driver
    from edgekiln.compiler.build.recipe import Recipe
    from edgekiln.compiler.build.shared_stages import shared_artifacts
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.store import Store
    from edgekiln.targets import profile

    if all(file.is_file() for file in files.values()):
        return
    request = driver.Request(
        model=network.model,
        # Any: what is shared ends before the target's stages begin.
        targets=(profile.load("x86-64-v3"),),
        recipe=Recipe(data=network.data, skip=("distill", "prune")),
        out=next(iter(files.values())).parent,
    )
    made = shared_artifacts(request, Store(), progress)
    for precision, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made["onnx" if precision == "float32" else "onnx-int8"].path, file)


def build(network: Network, out: Path, target: str) -> CompiledNetwork:
    """Export, quantize, compile and package, without training; all of it in the store."""
    from edgekiln.compiler.build.driver import Request
    from edgekiln.compiler.build.driver import build as run
    from edgekiln.compiler.build.recipe import Recipe
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.store import Store
    from edgekiln.runtime.bundle import Bundle
    from edgekiln.targets import profile

    store = Store()
    bundles: dict[Precision, Path] = {}
    made_from: dict[str, str] = {}
    for precision in PRECISIONS:
        request = Request(
            model=network.model,
            targets=(profile.load(target),),
            recipe=Recipe(data=network.data, skip=("distill", "prune")),
            precision=precision,
            out=out,
            # It is timed elsewhere, with all engines in turn.
            trial_s=0.0,
        )
        bundle = Path(run(request, store, progress).targets[0].bundle)
        bundles[precision] = bundle
        made_from |= {
            str(record["kind"]): str(record["sha256"])
            for record in Bundle.open(bundle).manifest.provenance
        }

    def path(kind: str) -> Path:
        artifact = store.find(made_from[kind])
        assert artifact is not None, kind  # it was made, or found, just now
        return artifact.path

    return CompiledNetwork(
        bundles=bundles,
        models={"int8": path("onnx-int8"), "float32": path("onnx")},
        module=path("module"),
        module_sha256=made_from["module"],
    )


def samples(network: Network, count: int) -> "NDArray[np.float32]":
    """The first of the data the network is calibrated on, as its module takes them."""
    from edgekiln.models import data

    dataset = data.load(network.data, 0)
    (x,) = dataset.ready({"": dataset.calib.x[:count]}).values()
    return x.astype("float32", copy=False)
