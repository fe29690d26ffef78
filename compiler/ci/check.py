"""Check that a bundle computes what it should, here, on its device or under QEMU."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.ci.result import BundleCheck
from edgekiln.compiler.devices.named import identity, open_device
from edgekiln.compiler.environment import doctor
from edgekiln.compiler.pipeline import source_models
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.runtime import codec, host
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.admission import require_signature
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.runtime.errors import BundleError, InputError, MissingToolError

if TYPE_CHECKING:
    from edgekiln.compiler.evaluation.layerwise import Gap
    from edgekiln.targets.profile import TargetProfile

SAMPLES = 8  # compared with ONNX Runtime, layer by layer
QEMU = "qemu"


def check(bundle: Artifact, job: Job, store: Store) -> BundleCheck:
    """Check a bundle, or find what was found of the same bytes before.

    Raises:
        MismatchError: the program does not compute what it should.
        BundleError: the device demands a signature.
        DeviceError: the device is busy, or cannot be reached.
    """
    reason = "" if job.device else doctor.foreign(job.target)
    device = job.device or (QEMU if reason else LOCAL)
    if job.device:  # also where the result is remembered and nothing will run
        require_signature(open_device(device), ProgramFile.open(bundle.path))
    stage = CheckBundle(
        device=device,
        executor=_executor(device, bundle.path, EMULATORS.get(job.target.machine, "")),
        data=job.recipe.data or job.recipe.calibrate,
        seed=job.recipe.seed,
    )
    try:
        made = store.run(stage, bundle)
    except (BundleError, MissingToolError) as error:
        if not reason:
            raise
        why = lasting(error.message, bundle.path.parent)
        return BundleCheck(where="nowhere", reason=f"{reason}; not emulated: {why}")
    found = codec.decode(BundleCheck, json.loads(made.path.read_text(encoding="utf-8")))
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
    seed: int

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return used_data(self.data, self.seed)

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        found = self._here(src.path) if self.device == LOCAL else self._there(src.path)
        dst.write_text(codec.dumps(codec.encode(found)), encoding="utf-8")
        return {"layers": len(found.layers)}

    def _here(self, bundle: Path) -> BundleCheck:
        from edgekiln.runtime.program import check_example

        equal = tuple(check_example(bundle))
        try:
            samples, layers = self._against_onnxruntime(bundle)
        except InputError as error:  # e.g. a program with two inputs
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

    def _against_onnxruntime(self, bundle: Path) -> "tuple[int, tuple[Gap, ...]]":
        from edgekiln.compiler.evaluation import parity
        from edgekiln.compiler.evaluation.layerwise import verify
        from edgekiln.runtime.runner import AotRunner

        spec = AotRunner.open(bundle).spec
        model = source_models.source_model(spec).path
        batches = parity.batches_for(spec, model, data=self.data, seed=self.seed, samples=SAMPLES)
        result = verify(bundle, model, batches)
        result.check()
        return result.samples, result.layers


def lasting(message: str, directory: Path) -> str:
    """The message without the name of a directory that will have another one."""
    return message.replace(f"{directory}/", "")


def _executor(device: str, bundle: Path, emulator: str) -> str:
    if device == QEMU:
        return _version(emulator)
    if device == LOCAL:
        return f"{host.machine().cpu}: {' '.join(sorted(host.cpu_flags()))}"
    return identity(device, bundle)


@cache
def _version(emulator: str) -> str:
    """The emulator's version in its own words; "" if it is missing."""
    try:
        done = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0]
