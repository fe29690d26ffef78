"""What `--json` prints: one type a document. A change that breaks readers gets a new number."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgekiln.compiler.autotune.tune import Tuned
from edgekiln.compiler.build.adaptive import AdaptiveBuild
from edgekiln.compiler.build.result import BuildResult
from edgekiln.compiler.ci.compare import Comparison
from edgekiln.compiler.ci.result import CiResult
from edgekiln.compiler.environment.doctor import Check
from edgekiln.compiler.estimate.gpu import GpuCounts
from edgekiln.compiler.estimate.measured_reference import MeasuredReference
from edgekiln.compiler.estimate.program import Estimate
from edgekiln.compiler.evaluation.judgement import Judgement
from edgekiln.compiler.evaluation.layerwise import Gap
from edgekiln.compiler.evaluation.parity import Link
from edgekiln.compiler.pipeline.gc import Entry, Swept
from edgekiln.compiler.quantization.ladder_record import SensitivityReport
from edgekiln.compiler.search.pick import PickedPoint
from edgekiln.compiler.stages.prune_sensitivity import PruneSensitivity
from edgekiln.compiler.sweep.front_document import FrontResult
from edgekiln.compiler.sweep.result import SweepResult
from edgekiln.compiler.trace.report import TraceReport
from edgekiln.models.zoo.entries import ZooEntry
from edgekiln.runtime.device.address import DeviceEntry
from edgekiln.runtime.device.farm_status import TrackerStatus
from edgekiln.runtime.documents import Answers, Benches
from edgekiln.runtime.host import Machine, State
from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """What one stage did, run by its own command."""

    stage: str
    output: str
    sha256: str
    bytes: int
    cached: bool
    wall_s: float  # of the run that made it
    metrics: Mapping[str, float | None]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Target profiles, each with what it inherits."""

    targets: tuple[TargetProfile, ...]


@dataclass(frozen=True, kw_only=True)
class ProfileFit:
    """How a profile suits this machine, by CPU features."""

    name: str
    machine: str
    fits: bool
    found: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Which profile "host" is made from; null when none fits."""

    chosen: str | None
    profiles: tuple[ProfileFit, ...]


@dataclass(frozen=True, kw_only=True)
class Models:
    """The models of the zoo."""

    models: tuple[ZooEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Artifacts:
    """What the store holds, the longest unused first."""

    artifacts: tuple[Entry, ...]
    objects: int  # compiled ones, which compilations share
    object_bytes: int


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What builds need and what is there."""

    host_builds: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What each step of a build changed, and how the program differs from ONNX Runtime."""

    chain: tuple[Link, ...]
    samples: int
    layers: tuple[Gap, ...]
    outputs: tuple[Gap, ...]
    agreement: float
    unchecked: tuple[str, ...]
    judged: tuple[Judgement, ...]
    identical: bool


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """An estimate and, apart from it, what was measured where the program runs here."""

    estimate: Estimate
    measured: MeasuredReference | None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was measured for each kind of layer, and the file that now holds it."""

    tuned: Tuned
    file: str


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices of devices.toml, by name."""

    devices: Mapping[str, DeviceEntry]


@dataclass(frozen=True, kw_only=True)
class DeviceCheck:
    """A device that was reached; `equal` names the example's outputs, all as expected."""

    device: str
    measures: bool
    reached_s: float
    machine: Machine
    state: State
    cpus: tuple[int, ...]
    equal: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Farms:
    """Who runs what on the boards of which trackers."""

    trackers: tuple[TrackerStatus, ...]


DOCUMENTS: Mapping[str, type] = {
    "edgekiln.bench-set/2": Benches,
    "edgekiln.build/1": BuildResult,
    "edgekiln.cache/1": Artifacts,
    "edgekiln.cache-gc/1": Swept,
    "edgekiln.ci/4": CiResult,
    "edgekiln.compare/1": Comparison,
    "edgekiln.detect/1": Detection,
    "edgekiln.device-check/1": DeviceCheck,
    "edgekiln.devices/1": Devices,
    "edgekiln.doctor/1": Diagnosis,
    "edgekiln.estimate/1": Estimated,
    "edgekiln.farms/1": Farms,
    "edgekiln.gpu-counts/1": GpuCounts,
    "edgekiln.tune/1": Tuning,
    "edgekiln.front/1": FrontResult,
    "edgekiln.models/1": Models,
    "edgekiln.pick/1": PickedPoint,
    "edgekiln.prune-sensitivity/1": PruneSensitivity,
    "edgekiln.run/1": Answers,
    "edgekiln.sensitivity/1": SensitivityReport,
    "edgekiln.stage/1": StageRun,
    "edgekiln.slim/1": AdaptiveBuild,
    "edgekiln.sweep/1": SweepResult,
    "edgekiln.targets/1": Targets,
    "edgekiln.trace/1": TraceReport,
    "edgekiln.verify/1": Verified,
}
