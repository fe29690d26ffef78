"""What a build measures: scores and sizes of artifacts, latencies of engines."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from edgekiln.compiler.build.result import Step
from edgekiln.compiler.evaluation.agreement import Agreement
from edgekiln.compiler.evaluation.latency import Latency, latency_of
from edgekiln.compiler.evaluation.report import Costs, Evaluation
from edgekiln.compiler.packaging.report import AGREEMENT, Score, leading, named
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.errors import AccuracyError, ConfigError
from edgekiln.runtime.typed import did_you_mean

# A trained model is better than this many times chance.
GUESSING = 1.5


ALL = ""  # the name of a limit that goes for every task


def scores_of(report: Evaluation | Agreement) -> tuple[Score, ...]:
    """What of an evaluation stands in reports."""
    if isinstance(report, Evaluation):
        return tuple(Score.of_measured(each, n=report.n, of=report.of) for each in report.measured)
    return (
        Score(
            value=report.sqnr_db,
            metric=AGREEMENT,
            n=report.n,
            of=report.of,
            unit="dB",
            share=False,
            top1_agreement=report.top1,
            cosine=report.cosine,
        ),
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

    if score is None or score.label != "accuracy":
        return ""
    classes = len(load(data, seed).classes)
    if score.value * classes > GUESSING:
        return ""
    return (
        f"{score.value:.2%} is what guessing one of {classes} classes gives: the model may want "
        "other preprocessing, e.g. --data 'PATH?scale=1' for raw pixels or 'PATH?mean=0.5&std=0.5'"
    )


def check_drop(steps: Sequence[Step], step: Step, max_drops: Mapping[str, float]) -> None:
    """Compare the last `step` with the scores before it and with the first ones, of as many
    samples.

    Args:
        max_drops: percentage points of a share, else percent of what it was; by the name of a head
            or a metric, `ALL` for the first metric of each head.

    Raises:
        AccuracyError: more was lost.
        ConfigError: no score has such a name.
    """
    if step.score is None or step.score.is_agreement:
        return
    _check_names(max_drops, step.scores)
    for score in step.scores:
        limit = _limit(score, step.scores, max_drops)
        earlier = [
            (other, found)
            for other in steps[: steps.index(step)]
            for found in other.scores
            if found.label == score.label
            and other.target in ("", step.target)
            and found.n == score.n  # an emulated program may have seen the first ones only
        ]
        if limit is not None and earlier:
            for reference, before in (earlier[-1], earlier[0]):
                _check_lost(step, score, reference, before, limit)


def _limit(score: Score, scores: tuple[Score, ...], max_drops: Mapping[str, float]) -> float | None:
    for name, limit in max_drops.items():
        if named(scores, name) is score:
            return limit
    return max_drops.get(ALL) if score in leading(scores) else None


def _check_names(max_drops: Mapping[str, float], scores: tuple[Score, ...]) -> None:
    for name in max_drops:
        if name != ALL and named(scores, name) is None:
            known = {n for score in scores for n in (score.head, score.metric) if n}
            raise ConfigError(
                f"--max-drop {name}: no task or metric has this name",
                did_you_mean(name, known, what="there are"),
            )


def _check_lost(step: Step, score: Score, reference: Step, before: Score, limit: float) -> None:
    lost = score.kind.lost(before.value, score.value)
    if lost > limit:
        kind, option = score.kind, f"{score.head}=" if score.head else ""
        raise AccuracyError(
            f"{step.stage} lost {lost:.2f} {kind.loss_unit} of {score.label}: "
            f"{kind.shown(before.value)} after {reference.stage}, {kind.shown(score.value)} now "
            f"(n = {score.n}; --max-drop {option}{limit:g})",
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
