"""What a module costs on a target: its layers by their widths, and the whole int8 program.

`prune` imports this by its name, and only for a budget that asks a target: so a change of the
compiler prunes no network anew whose budget is of multiply-accumulates. Where it is imported the
stage's key says so itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.devices.named import open_device
from edgekiln.compiler.layer_latency.geometry import layer_calls
from edgekiln.compiler.layer_latency.measure import measures
from edgekiln.compiler.layer_latency.table import LatencyTable, latency_table
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.fingerprint import code_sha256
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.quantization.sqnr import LOST_DB
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.stages.export import ExportStage
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.compiler.tuning.table import Unit
from edgekiln.runtime import host
from edgekiln.runtime.codec import digest
from edgekiln.targets import profile
from edgekiln.targets.profile import HOST, TargetProfile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.runtime.device.device import Device

_CALIBRATION = 32  # samples: of what a program costs, ranges decide nothing
_TRIALS, _TRIAL_S = 5, 0.1


@dataclass(frozen=True, kw_only=True)
class ProgramCosts:
    """What a network's int8 program is on a target."""

    target: str
    bytes: int  # of its constants: weights as its kernels have them, biases, multipliers
    arena_bytes: int
    latency: float
    unit: Unit
    method: str  # the CPU that measured, or how it was estimated


def profiles(names: Sequence[str]) -> tuple[TargetProfile, ...]:
    """The targets of these names, or the host. Raises ConfigError, UnsupportedError."""
    return tuple(profile.load(name) for name in names or (HOST,))


def used(targets: Sequence[TargetProfile]) -> Mapping[str, str]:
    """What costs on these targets depend on, for a stage's key."""
    known = {f"target {each.name}": digest(each) for each in targets}
    return {**known, "costs": code_sha256(__name__), "cpu": host.machine().cpu}


def layers(
    module: "nn.Module",
    sample: "Sequence[Tensor]",
    target: TargetProfile,
    *,
    multiple: int,
    device: str,
    ctx: StageContext,
) -> LatencyTable:
    """The latency of the layers of `module` at all widths up to their own.

    Args:
        device: the address of one where the target's programs are measured; "": here, if they run
            here, or else estimated.

    Raises:
        EdgeKilnError: the target's compiler, or what estimates its cycles, is missing; or the
            device cannot be reached.
    """
    return latency_table(
        layer_calls(module, sample),
        target,
        multiple=multiple,
        device=_opened(device),
        place=device,
        cache=ObjectCache(root=ctx.objects),
        advance=ctx.advance,
    )


def program(
    context: "TrainingContext",
    target: TargetProfile,
    *,
    data: str,
    seed: int,
    device: str,
    ctx: StageContext,
    timed: bool,
) -> ProgramCosts:
    """Export, quantize and compile the module of `context` as a build would.

    Args:
        timed: whether to measure, or estimate, its latency; else that is 0.

    Raises:
        EdgeKilnError: from the stages; and as `layers`.
    """
    from edgekiln.models.artifact import save_module

    home = ctx.scratch / f"program-{target.name}"
    home.mkdir(parents=True, exist_ok=True)
    ctx.advance(0, 4, f"program for {target.name}")
    path = home / "net.pt"
    save_module(path, context.module, context.meta)
    stages: tuple[Stage, ...] = (
        ExportStage(data=data, seed=seed, samples=4),
        QuantizeStage(
            data=data, seed=seed, samples=_CALIBRATION, equalize_below=0, accept_sqnr=LOST_DB
        ),
        CompileStage(),
    )
    kind: Kind = "module"
    figures = {}
    for done, stage in enumerate(stages):
        ctx.advance(done, len(stages) + 1, f"program for {target.name}: {stage.name}")
        made = home / f"net{stage.suffix}"
        own = StageContext(
            target=target, objects=ctx.objects, scratch=home / stage.name, allow=ctx.allow
        )
        figures = dict(stage.run(Artifact.of_file(path, kind), made, own))
        path, kind = made, stage.gives
    latency, unit, method = _latency(path, target, _opened(device)) if timed else (0.0, "s", "")
    return ProgramCosts(
        target=target.name,
        bytes=int(figures["weights_bytes"]),
        arena_bytes=int(figures["arena_bytes"]),
        latency=latency,
        unit="cycles" if unit == "cycles" else "s",
        method=method,
    )


def _latency(lib: Path, target: TargetProfile, device: "Device | None") -> tuple[float, Unit, str]:
    """What one inference takes, in seconds or cycles, and by what that is known."""
    from edgekiln.compiler.estimate.program import program as estimate
    from edgekiln.runtime.bench import bench

    if measures(target, device):
        result = bench(lib, trials=_TRIALS, min_seconds=_TRIAL_S, device=device)
        return result.median_s, "s", result.machine.cpu
    estimated = estimate(lib, target=target)
    return estimated.total.cycles, "cycles", f"{estimated.method}, {estimated.model}"


def _opened(device: str) -> "Device | None":
    return open_device(device) if device else None
