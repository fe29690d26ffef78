"""Check: a bundle runs its example, here, on a device or under QEMU, and says what was equal.

No stage of a build: `edgekiln ci` asks for it, and remembers by its key what was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from edgekiln.compiler.devices.named import open_device
from edgekiln.compiler.evaluation.layerwise import Gap
from edgekiln.compiler.pipeline import source_models
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.runtime import codec
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile

SAMPLES = 8  # compared with ONNX Runtime, layer by layer
QEMU = "qemu"


@dataclass(frozen=True, kw_only=True)
class BundleCheck:
    """The bundle's own example run, and every layer against ONNX Runtime."""

    where: Literal["host", "device", "emulator", "nowhere"]
    device: str = ""  # its name, where it was not the host
    reason: str = ""  # why not on the host
    equal: tuple[str, ...] = ()  # outputs that are as expected, bit by bit
    unverified: str = ""  # why no layer was compared
    samples: int = 0
    layers: tuple[Gap, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckBundle(Stage):
    """Run the bundle's example and, on this machine, compare every layer with ONNX Runtime."""

    name: ClassVar[str] = "check"
    takes: ClassVar[tuple[Kind, ...]] = ("bundle",)
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    tools: ClassVar[tuple[str, ...]] = ("edgekiln", "onnxruntime", "numpy")

    device: str  # "local", "qemu", or where the configuration says
    executor: str  # what would compute: a CPU or an emulator, in words
    data: str
    seed: int

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return used_data(self.data, self.seed)

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        found = self._here(src.path) if self.device == LOCAL else self._there(src.path)
        src.require_unchanged()
        dst.write_text(codec.to_json(found), encoding="utf-8")
        return {"layers": len(found.layers)}

    def _here(self, bundle: Path) -> BundleCheck:
        from edgekiln.runtime.example_check import check_example

        equal = tuple(check_example(bundle))
        try:
            samples, layers = self._against_onnxruntime(bundle)
        except InputError as error:  # e.g. a program with two inputs
            # The bundle's directory may be a temporary one, and the report is kept.
            why = lasting(error.message, bundle.parent)
            return BundleCheck(where="host", equal=equal, unverified=why)
        return BundleCheck(where="host", equal=equal, samples=samples, layers=layers)

    def _there(self, bundle: Path) -> BundleCheck:
        """Check the outputs alone: on a device, no layer is seen."""
        from edgekiln.runtime.device.example import check_example

        emulated = self.device == QEMU
        with open_device(self.device, bundle) as device:
            equal = check_example(bundle, device)
        return BundleCheck(
            where="emulator" if emulated else "device",
            device=device.name if emulated else self.device,
            equal=equal,
            unverified="emulated" if emulated else f"runs on {self.device}",
        )

    def _against_onnxruntime(self, bundle: Path) -> tuple[int, tuple[Gap, ...]]:
        from edgekiln.compiler.evaluation import parity
        from edgekiln.compiler.evaluation.layerwise import verify
        from edgekiln.runtime.runner import AotRunner

        spec = AotRunner.open(bundle).spec
        model = source_models.source_model(spec).path
        batches = parity.batches_for(spec, model, data=self.data, seed=self.seed, samples=SAMPLES)
        result = verify(bundle, model, batches)
        result.check()
        # A layer that differs has ended the stage by now: what is remembered is a check that
        # passed.
        return result.samples, result.layers


def lasting(message: str, directory: Path) -> str:
    """The message without the name of a directory that will have another one."""
    return message.replace(f"{directory}/", "")
