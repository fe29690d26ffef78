"""What a build measures: scores and sizes of artifacts, latencies of engines."""

from collections.abc import Collection, Sequence
from pathlib import Path

from edgekiln.compiler.build.result import Step
from edgekiln.compiler.evaluation.latency import Latency, latency_of
from edgekiln.compiler.evaluation.report import Costs, Evaluation
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.errors import AccuracyError

# A trained model is better than this many times chance.
GUESSING = 1.5


def score_of(report: Evaluation) -> Score:
    """What of an evaluation stands in reports."""
    return Score(value=report.accuracy, metric=report.metric, n=report.n, of=report.of)


def costs(artifact: Artifact, allow: Collection[str] = ()) -> Costs:
    """What an evaluation's report says besides the score, of an artifact that is not evaluated."""
    if artifact.kind == "lib":  # it may be for another machine
        sizes = artifact.metrics
        program_bytes = int(sizes["code_bytes"] + sizes["weights_bytes"])
        return Costs(parameters=None, macs=int(sizes["macs"]), file_bytes=program_bytes)
    from edgekiln.compiler.evaluation.subject import open_subject

    return open_subject(artifact, allow).costs


def doubt(score: Score | None, data: str, seed: int) -> str:
    """A word on a user's trained model that scores like one that guesses."""
    from edgekiln.models.data import load

    if score is None or score.metric != "accuracy":
        return ""
    classes = len(load(data, seed).classes)
    if score.value * classes > GUESSING:
        return ""
    return (
        f"{score.value:.2%} is what guessing one of {classes} classes gives: the model may want "
        "other preprocessing, e.g. --data 'PATH?scale=1' for raw pixels or 'PATH?mean=0.5&std=0.5'"
    )


def check_drop(steps: Sequence[Step], step: Step, max_drop: float) -> None:
    """Compare the last `step` with the score before it and with the first one, of as many samples.

    Raises:
        AccuracyError: more than `max_drop` percentage points were lost.
    """
    if step.score is None:
        return
    earlier = [
        (other, other.score)
        for other in steps[: steps.index(step)]
        if other.score
        and other.target in ("", step.target)
        and other.score.n == step.score.n  # an emulated program may have seen the first ones only
    ]
    for reference, score in (earlier[-1], earlier[0]) if earlier else ():
        lost = 100 * (score.value - step.score.value)
        if lost > max_drop:
            raise AccuracyError(
                f"{step.stage} lost {lost:.2f} points of {score.metric}: "
                f"{score.value:.2%} after {reference.stage}, {step.score.value:.2%} now "
                f"(n = {step.score.n}; --max-drop {max_drop:g})",
                f"change [{step.stage}] in the recipe, or allow more",
            )


def latencies(bundle: Path, models: Sequence[Path], trial_s: float) -> tuple[Latency, ...]:
    """Ours, then ONNX Runtime's on each of `models`; their trials take turns."""
    from edgekiln.runtime.bench import compare

    results = compare(bundle, models, min_seconds=trial_s)
    return tuple(latency_of(each, results[0].median_s) for each in results)
