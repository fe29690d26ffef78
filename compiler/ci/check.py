"""Does a bundle compute what it should? Run here, on its device or under QEMU; remembered."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.build import resolve
from edgekiln.compiler.ci.matrix import Cell
from edgekiln.compiler.ci.result import Check
from edgekiln.compiler.devices.named import identity, open_device
from edgekiln.compiler.environment import doctor
from edgekiln.compiler.pipeline import source_models
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import Kind, Stage, StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime import codec, host
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.admission import require_signature
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.runtime.errors import BundleError, InputError, MissingToolError

if TYPE_CHECKING:
    from edgekiln.compiler.evaluation.layerwise import Gap

SAMPLES = 8  # compared with ONNX Runtime, layer by layer
QEMU = "qemu"


def check(bundle: Artifact, cell: Cell, store: Store) -> Check:
    """Raises MismatchError when the program does not compute what it should.

    BundleError: the device demands a signature. DeviceError: it is busy, or cannot be reached.
    """
    reason = "" if cell.device else doctor.foreign(cell.target)
    device = cell.device or (QEMU if reason else LOCAL)
    if cell.device:  # also where the result is remembered and nothing will run
        require_signature(open_device(device), ProgramFile.open(bundle.path))
    stage = CheckBundle(
        device=device,
        executor=_executor(device, bundle.path, EMULATORS.get(cell.target.machine, "")),
        data=cell.recipe.data,
        seed=cell.recipe.seed,
    )
    try:
        report = store.run(resolve.derive(stage), bundle)
    except (BundleError, MissingToolError) as error:
        if not reason:
            raise
        why = lasting(error.message, bundle.path.parent)
        return Check(where="nowhere", reason=f"{reason}; not emulated: {why}")
    found = codec.decode(Check, json.loads(report.path.read_text(encoding="utf-8")))
    return replace(found, reason=reason)


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
    data_sha256: str = ""
    seed: int

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        found = self._here(src) if self.device == LOCAL else self._there(src)
        dst.write_text(codec.dumps(codec.encode(found)), encoding="utf-8")
        return {"layers": len(found.layers)}

    def _here(self, bundle: Path) -> Check:
        from edgekiln.runtime.program import check_example

        equal = tuple(check_example(bundle))
        try:
            samples, layers = self._against_onnxruntime(bundle)
        except InputError as error:  # e.g. a program with two inputs
            why = lasting(error.message, bundle.parent)
            return Check(where="host", equal=equal, unverified=why)
        return Check(where="host", equal=equal, samples=samples, layers=layers)

    def _there(self, bundle: Path) -> Check:
        """Right results, and which layer computed them is not seen."""
        from edgekiln.runtime.device.example import check_example

        emulated = self.device == QEMU
        with open_device(self.device, bundle) as device:
            equal = check_example(bundle, device)
        return Check(
            where="emulator" if emulated else "device",
            device=device.name if emulated else self.device,
            equal=equal,
            unverified="emulated" if emulated else f"runs on {self.device}",
        )

    def _against_onnxruntime(self, bundle: Path) -> "tuple[int, tuple[Gap, ...]]":
        from edgekiln.compiler.evaluation import parity
        from edgekiln.compiler.evaluation.layerwise import verify
        from edgekiln.runtime.runner import AotRunner

        spec = AotRunner.open(bundle).spec
        model = source_models.source_model(spec)
        batches = parity.batches_for(spec, model, data=self.data, seed=self.seed, samples=SAMPLES)
        result = verify(bundle, model, batches)
        result.check()
        return result.samples, result.layers


def lasting(message: str, directory: Path) -> str:
    """Without the name of a directory that will have another one."""
    return message.replace(f"{directory}/", "")


def _executor(device: str, bundle: Path, emulator: str) -> str:
    if device == QEMU:
        return _version(emulator)
    if device == LOCAL:
        return f"{host.machine().cpu}: {' '.join(sorted(host.cpu_flags()))}"
    return identity(device, bundle)


@cache
def _version(emulator: str) -> str:
    """In its own words; "" if it is missing."""
    try:
        done = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0]
