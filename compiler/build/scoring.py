"""What a build measures: scores and sizes of artifacts, latencies of engines."""

from collections.abc import Collection, Sequence
from pathlib import Path

from edgekiln.compiler.build.result import Step
from edgekiln.compiler.evaluation.agreement import Agreement
from edgekiln.compiler.evaluation.latency import Latency, latency_of
from edgekiln.compiler.evaluation.report import Costs, Evaluation
from edgekiln.compiler.packaging.report import AGREEMENT, Score
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.errors import AccuracyError

# A trained model is better than this many times chance.
GUESSING = 1.5


def score_of(report: Evaluation | Agreement) -> Score:
    """What of an evaluation stands in reports."""
    if isinstance(report, Evaluation):
        return Score(value=report.accuracy, metric=report.metric, n=report.n, of=report.of)
    return Score(
        value=report.sqnr_db,
        metric=AGREEMENT,
        n=report.n,
        of=report.of,
        top1_agreement=report.top1,
        cosine=report.cosine,
    )


def costs(artifact: Artifact, allow: Collection[str] = ()) -> Costs:
    """What an evaluation's report says besides the score, of an artifact that is not evaluated."""
    if artifact.kind == "lib":  # it may be for another machine
        sizes = artifact.metrics
        program_bytes = int(sizes["code_bytes"] + sizes["weights_bytes"])
        return Costs(parameters=None, macs=int(sizes["macs"]), file_bytes=program_bytes)
    from edgekiln.compiler.evaluation.subject import open_subject

    return open_subject(artifact, allow).costs


def has_labels(data: str, seed: int) -> bool:
    """Whether a data set tells how good a model is."""
    from edgekiln.models.data import is_unlabelled, load

    return not is_unlabelled(data) and load(data, seed).scored


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
    if step.score is None or step.score.is_agreement:
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


def check_agreement(step: Step, min_sqnr_db: float) -> None:
    """Hold a step to a ratio of signal to noise: of the outputs, or, of labelled data, what the
    quantization measured.

    Raises:
        AccuracyError: it is lower.
    """
    found = step.metrics.get("sqnr_db") if step.stage == "quantize" else None
    if step.score and step.score.is_agreement:
        found = step.score.value
    if found is not None and found < min_sqnr_db:
        raise AccuracyError(
            f"{step.stage}: an SQNR of {found:.1f} dB against the float model is below the "
            f"{min_sqnr_db:g} dB of --min-sqnr",
            f"change [{step.stage}] in the recipe (calibration, exclude), or take less",
        )


def latencies(bundle: Path, models: Sequence[Path], trial_s: float) -> tuple[Latency, ...]:
    """Ours, then ONNX Runtime's on each of `models`; their trials take turns."""
    from edgekiln.runtime.bench import compare

    results = compare(bundle, models, min_seconds=trial_s)
    return tuple(latency_of(each, results[0].median_s) for each in results)
