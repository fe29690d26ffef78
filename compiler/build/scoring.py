"""What a build measures: scores and sizes of artifacts, latencies of engines."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from edgekiln.compiler.build.result import Step
from edgekiln.compiler.environment import doctor
from edgekiln.compiler.evaluation.agreement import Agreement
from edgekiln.compiler.evaluation.latency import Latency, latency_of
from edgekiln.compiler.evaluation.report import Costs, Evaluation
from edgekiln.compiler.packaging.report import AGREEMENT, Score, limits_by_label
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.quantization.ladder_record import Ladder, read_ladder
from edgekiln.runtime.errors import (
    AccuracyError,
    BundleError,
    DeviceError,
    EdgeKilnError,
    MissingToolError,
)
from edgekiln.targets.profile import TargetProfile

# A trained model is better than this many times chance.
GUESSING = 1.5
_INDICES = "int64"  # of columns that are looked up, and of tokens


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


def ladder_of(artifact: Artifact) -> Ladder | None:
    """What accuracy control did to an int8 model, as its file says; None for all else."""
    if artifact.kind != "onnx-int8":
        return None
    from edgekiln.compiler.onnx_model.io import load_model

    return read_ladder(artifact.read(load_model))


def has_labels(data: str, seed: int) -> bool:
    """Whether a data set tells how good a model is."""
    from edgekiln.models.data import is_unlabelled, load

    return not is_unlabelled(data) and load(data, seed).scored


def doubt(score: Score | None, data: str, seed: int) -> str:
    """A word on a user's trained model that scores like one that guesses."""
    from edgekiln.models.data import load

    if score is None or score.label != "accuracy":
        return ""
    loaded = load(data, seed)
    classes = len(loaded.classes)
    if score.value * classes > GUESSING:
        return ""
    other = "preprocessing, e.g. --data 'PATH?scale=1' for raw pixels or 'PATH?mean=0.5&std=0.5'"
    if any(array.dtype == _INDICES for array in loaded.train.inputs.values()):
        other = "indices: the buckets, hashes or tokens that it was trained with"
    guessed = f"{score.value:.2%} is what guessing one of {classes} classes gives"
    return f"{guessed}: the model may want other {other}"


def check_drop(steps: Sequence[Step], step: Step, max_drops: Mapping[str, float]) -> None:
    """Compare the last `step` with the scores before it and with the first ones, of as many
    samples.

    Args:
        max_drops: percentage points of a share, else percent of what it was; as
            `limits_by_label` takes it.

    Raises:
        AccuracyError: more was lost.
        ConfigError: no score has such a name.
    """
    if step.score is None or step.score.is_agreement:
        return
    limits = limits_by_label(step.scores, max_drops)
    for score in step.scores:
        limit = limits.get(score.label)
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


def drop_left(steps: Sequence[Step], max_drops: Mapping[str, float]) -> tuple[str, ...]:
    """What of `max_drops` the stages so far have left to the next one: `[NAME=]PP` each, as stages
    take it.

    Raises:
        ConfigError: no score has such a name.
    """
    scored = [step for step in steps if step.score is not None and not step.score.is_agreement]
    if not scored:
        return tuple(_drop(name, limit) for name, limit in max_drops.items())
    found = []
    before = {score.label: score for score in scored[0].scores}
    for label, limit in limits_by_label(scored[-1].scores, max_drops).items():
        now = next(score for score in scored[-1].scores if score.label == label)
        was = before.get(label, now)
        lost = max(0.0, now.kind.lost(was.value, now.value)) if was.n == now.n else 0.0
        found.append(_drop(label, max(0.0, limit - lost)))
    return tuple(found)


def _drop(name: str, limit: float) -> str:
    return f"{name}={limit:g}" if name else f"{limit:g}"


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
        chosen = step.metrics.get("sqnr_db") if step.stage == "quantize" else None
        hint = f"change [{step.stage}] in the recipe (calibration, exclude), or take less"
        if chosen is not None and chosen >= min_sqnr_db:
            hint = (
                f"the samples that it was chosen by keep {chosen:.1f} dB, those that chose nothing "
                "do not: give more samples, or ask for more decibels than you need, or take less"
            )
        raise AccuracyError(
            f"{step.stage}: an SQNR of {found:.1f} dB against the float model is below the "
            f"{min_sqnr_db:g} dB of --min-sqnr",
            hint,
        )


def not_run(target: TargetProfile | None, error: EdgeKilnError) -> str:
    """Why a program of a target was not run, where that is no fault; "" where `error` is one."""
    if target is None:
        return ""
    # Building takes neither a GPU nor its driver.
    absent = isinstance(error, DeviceError) and error.is_absent
    if target.gpu and (absent or isinstance(error, MissingToolError)):
        return f"no GPU for it is here: {error.message}"
    if isinstance(error, BundleError | MissingToolError) and (reason := doctor.foreign(target)):
        return f"{reason}; not emulated: {error.message}"
    return ""


def latencies(
    target: TargetProfile, bundle: Path, models: Sequence[Path], trial_s: float
) -> tuple[tuple[Latency, ...], str]:
    """Ours, then ONNX Runtime's on each of `models`; their trials take turns. Or none, and why."""
    from edgekiln.runtime.bench import compare

    try:
        results = compare(bundle, models, min_seconds=trial_s)
    except (MissingToolError, DeviceError) as error:
        if not target.gpu:
            raise
        return (), error.message
    return tuple(latency_of(each, results[0].median_s) for each in results), ""
