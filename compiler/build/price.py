"""What a limit on what is lost costs a program: µs and bytes, against one without it."""

from collections.abc import Callable, Sequence

from edgekiln.compiler.build import scoring
from edgekiln.compiler.build.result import DropPrice, Step
from edgekiln.compiler.evaluation.latency import Latency
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.quantization.sqnr import LOST_DB
from edgekiln.targets.profile import TargetProfile

# Name of a stage, its input, its target, fields that are no options → what it makes.
RunStage = Callable[..., Artifact]


def price(
    run_stage: RunStage,
    steps: Sequence[Step],
    real: Artifact | None,
    lib: Artifact,
    target: TargetProfile,
    latencies: Sequence[Latency],
    trial_s: float,
) -> DropPrice | None:
    """Build the program that there would be without a limit, and measure it where ours was.

    Args:
        run_stage: as the build runs its own.
        steps: of the build so far.
        real: the float ONNX model, if the build has one.
        lib: the program with the limit.
        latencies: of the program with the limit first; none where it cannot be measured.
        trial_s: length of a trial.

    Returns:
        None where all layers have 8 bits for all that: corrections cost nothing, being weights.
    """
    ladders = [step.ladder for step in steps if step.stage == "quantize" and step.ladder]
    if not ladders or real is None:
        return None
    ladder = ladders[-1]
    if not (ladder.float_layers or ladder.wide_layers or ladder.whole_layers):
        return None
    plain = run_stage(
        "quantize", real, None, max_drop=(), min_sqnr=None, validation="", accept_sqnr=LOST_DB
    )
    plain_lib = run_stage("compile", plain, target)
    measured: tuple[Latency, ...] = ()
    if latencies:
        bundle = run_stage("package", plain_lib, target)
        measured, _ = scoring.latencies(target, bundle.path, (), trial_s)
    return DropPrice(
        float_layers=ladder.float_layers,
        wide_layers=ladder.wide_layers,
        whole_layers=ladder.whole_layers,
        bytes=_bytes(lib),
        plain_bytes=_bytes(plain_lib),
        median_s=latencies[0].median_s if latencies else None,
        plain_median_s=measured[0].median_s if measured else None,
    )


def _bytes(lib: Artifact) -> int:
    return int(lib.metrics["code_bytes"] + lib.metrics["weights_bytes"])
