"""Cascades: a cheap operating point answers where it is sure, the dearest one where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.evaluation.examine import Split, predictions
from edgekiln.compiler.evaluation.subject import program_subject
from edgekiln.compiler.onnx_model.feed import Feed, feed_for
from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.models.tasks.classification import Classification
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.points import at_point, names

_PLACES = 40  # of a curve
Scores = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CascadePlace:
    """What becomes of the validation split where the cheap point has to lead by a margin."""

    margin: float
    asked: float  # the share of samples for which the dearest point is asked
    accuracy: float
    work: float  # mean MACs of a sample, beside those of the dearest point


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """A cheap point before the dearest one. The margin is chosen on the validation split; `asked`,
    the accuracies and `work` are of the test split.
    """

    cheap: str
    dear: str
    margin: float  # by which the best score leads the next, in the output's own unit
    margin_codes: int | None  # the same in codes, of an output that is quantized
    asked: float
    accuracy: float
    dear_accuracy: float
    work: float
    n: int  # test samples
    curve: tuple[CascadePlace, ...]  # from never to always asked


@dataclass(frozen=True)
class _Told:
    """What one point says of a split."""

    scores: Scores  # (N, classes); of a quantized output its codes, as C has them
    right: NDArray[np.bool_]

    @property
    def margins(self) -> Scores:
        """The lead of the best score over the next one; -1 of NaN, which leads nothing."""
        two = np.partition(self.scores, -2, axis=1)[:, -2:]
        lead: Scores = two[:, 1] - two[:, 0]
        return np.where(np.isnan(self.scores).any(axis=1), np.float32(-1), lead)


def cascades(
    opened: ProgramFile, data: str, seed: int, most_lost: float, advance: Advance
) -> tuple[Cascade, ...]:
    """Each cheaper point before the dearest one, with the least work that loses no more than
    `most_lost` of the dearest point's accuracy, a share, on the validation split.

    Raises:
        ConfigError: the program is no classifier, or the samples have no labels.
    """
    called = names(opened.spec)
    told = [_both_splits(opened, data, seed, point, advance) for point in range(len(called))]
    macs = [sum(layer.macs for layer in each.layers) for each in opened.spec.every_point]
    return tuple(
        _cascade(opened.spec, called, point, told, macs, most_lost)
        for point in range(1, len(called))
    )


def _cascade(
    spec: ProgramSpec,
    called: Sequence[str],
    point: int,
    told: "Sequence[dict[str, _Told]]",
    macs: Sequence[int],
    most_lost: float,
) -> Cascade:
    cheap, dear = told[point], told[0]
    share = macs[point] / macs[0] if macs[0] else 1.0
    scale = at_point(spec, point).outputs[0].scale
    unit = 1.0 if scale is None else scale  # of a step, beside the output's own
    steps = _steps(cheap["val"].margins, whole=scale is not None)
    curve = [_place(cheap["val"], dear["val"], step, unit, share) for step in steps]
    # A sample less is a whole step of accuracy: what rounding leaves is none.
    floor = dear["val"].right.mean() - most_lost - 1e-9
    # The last one asks always: it loses nothing.
    chosen = next((i for i, place in enumerate(curve) if place.accuracy >= floor), len(curve) - 1)
    found = _place(cheap["test"], dear["test"], steps[chosen], unit, share)
    return Cascade(
        cheap=called[point],
        dear=called[0],
        margin=found.margin,
        margin_codes=None if scale is None else round(steps[chosen]),
        asked=found.asked,
        accuracy=found.accuracy,
        dear_accuracy=float(dear["test"].right.mean()),
        work=found.work,
        n=len(dear["test"].right),
        curve=tuple(curve),
    )


def _steps(margins: Scores, *, whole: bool) -> list[float]:
    """Margins that split the samples evenly, from none that all reach to one that none does: whole
    ones of codes.
    """
    at = np.quantile(margins, np.linspace(0, 1, _PLACES))
    most = np.float32(max(margins.max(), 0))
    if whole:
        steps = np.concatenate([[0.0], np.rint(at[at > 0]), [most + 1]])
    else:
        steps = np.concatenate([[0.0], at[at > 0], [np.nextafter(most, np.float32(np.inf))]])
    return sorted({float(np.float32(step)) for step in steps})


def _place(cheap: _Told, dear: _Told, step: float, unit: float, share: float) -> CascadePlace:
    """What becomes of a split, decided as `model_sure_*` of governor.h does."""
    asked = ~(cheap.margins >= np.float32(step))
    right = np.where(asked, dear.right, cheap.right)
    return CascadePlace(
        margin=step * unit,
        asked=float(asked.mean()),
        accuracy=float(right.mean()),
        work=share + float(asked.mean()),
    )


def _both_splits(
    opened: ProgramFile, data: str, seed: int, point: int, advance: Advance
) -> dict[str, _Told]:
    subject = program_subject(opened.spec, opened.files, point)
    feed = feed_for(subject.meta, subject.takes, data=data, seed=seed)
    _check(feed, opened.spec)
    scale = at_point(opened.spec, point).outputs[0].scale
    found: dict[str, _Told] = {}
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        doing = f"{names(opened.spec)[point]}, {split}"
        rows: list[Scores] = [
            np.asarray(told[0], np.float32).reshape(count, -1)
            for _, told, count in predictions(
                subject, feed, split, subject.samples_in_time, advance, doing
            )
        ]
        answers = np.concatenate(rows)
        _check_answers(answers, opened.spec)
        (targets,) = feed.targets(split).values()
        right = answers.argmax(axis=1) == targets[: len(answers)]
        # What a difference of codes is, in C, a difference of their values only nearly is.
        found[split] = _Told(answers if scale is None else np.rint(answers / scale), right)
    return found


def _check_answers(answers: Scores, spec: ProgramSpec) -> None:
    """Raises ConfigError for scores of which none can lead another."""
    if answers.shape[1] < 2:
        raise ConfigError(
            f"{spec.name}: it gives one number a sample: no score that another one could lead",
            "leave --cascade out, or build the program without an answer behind its scores",
        )
    if np.isinf(answers).any():
        raise ConfigError(
            f"{spec.name}: some of its scores are infinite: no margin says how sure they are",
            "leave --cascade out, or give the program's output before the logarithm",
        )


def _check(feed: Feed, spec: ProgramSpec) -> None:
    """Raises ConfigError for what has no classes to be sure of."""
    if not feed.scored:
        raise ConfigError(
            f"{feed.name}: its samples have no labels: a cascade is chosen by accuracy",
            "give labelled data by --data",
        )
    if len(feed.heads) != 1 or not isinstance(feed.heads[0].task, Classification):
        raise ConfigError(
            f"{spec.name}: only a classifier with one head can be sure of its answer",
            "leave --cascade out",
        )
