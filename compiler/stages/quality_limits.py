"""`max-drop` and `min-sqnr` of the quantize stage, and the way up until they hold."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.quantization.products import WEIGHT_BITS
from edgekiln.compiler.quantization.sqnr import LOST_DB
from edgekiln.runtime.errors import AccuracyError, ConfigError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.compiler.onnx_model.model_inputs import Inputs
    from edgekiln.compiler.quantization.attempt import Attempt
    from edgekiln.compiler.quantization.corrections import Workbench
    from edgekiln.compiler.quantization.judge import Verdict
    from edgekiln.compiler.quantization.ladder import Retrain
    from edgekiln.compiler.quantization.ladder_record import Ladder
    from edgekiln.compiler.quantization.scheme import Scheme

# Of the validation split: for what a task loses, and for what is asked of every layer.
_SAMPLES, _PROBE_SAMPLES = 4096, 128
_FEW_SAMPLES = 128  # fewer than these find help
SQNR_SAMPLES = 512  # of the validation split, for the signal to noise


def drops_of(texts: Sequence[str]) -> dict[str, float]:
    """The limits by name, "" for every task, of `[NAME=]PP` each.

    Raises:
        ConfigError: one is no number, or below 0.
    """
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        # Written so that NaN is refused.
        if not 0.0 <= limit < math.inf:
            raise ConfigError(
                f"quantize: max-drop = {text!r}", hint="write 0.5, or NAME=0.5; not below 0"
            )
        found[name.strip()] = limit
    return found


def climbed(
    model: "onnx.ModelProto",
    scheme: "Scheme",
    bench: "Workbench",
    data: str,
    spec: str,
    drops: Mapping[str, float],
    min_sqnr_db: float | None,
    retrain: "Retrain | None" = None,
) -> "tuple[Attempt, Ladder, list[str]]":
    """Whatever it takes to lose no more than `drops` and to keep `min_sqnr_db` on validation
    samples, with a note a step.

    Args:
        model: float, which the int8 model is held against.
        scheme: how it is quantized so far.
        data: that calibrated.
        spec: of the data set whose validation split judges.
        drops: as `drops_of` gives them; without any, labels are not asked.
        min_sqnr_db: of each output.
        retrain: trains a quantized model, where that may be tried.

    Raises:
        ConfigError: the data has no labels, or no score has the name of a limit.
        AccuracyError: nothing helps.
    """
    from edgekiln.compiler.onnx_model import io, model_inputs
    from edgekiln.compiler.onnx_model.feed import feed_for
    from edgekiln.compiler.packaging.report import Score, limits_by_label
    from edgekiln.compiler.quantization.judge import Judge, QualityLimits
    from edgekiln.compiler.quantization.ladder import Climb
    from edgekiln.compiler.quantization.ladder_record import judged_on, ladder_notes

    feed = feed_for(io.read_meta(model), model_inputs.of_model(model), data=spec, seed=bench.seed)
    judging = feed if drops or spec != data else _with_more_to_judge(feed)
    if drops and not feed.scored:
        raise ConfigError(
            f"quantize: max-drop: {spec} has no labels, so there is no accuracy to lose",
            hint="name labelled data by --validation, or hold the signal: --min-sqnr 30",
        )
    scored = bool(drops)
    judge = Judge(model, judging, samples=_SAMPLES if scored else SQNR_SAMPLES, scored=scored)
    probe = Judge(model, feed, samples=_PROBE_SAMPLES, scored=scored)
    count = judge.samples
    # Of a model with large outputs the judge takes fewer than there are.
    helping = 0 if judging is feed else max(0, count - len(feed.parts["val"]))
    scores = tuple(Score.of_measured(each, n=count, of=count) for each in judge.scores)
    limits = QualityLimits(lost=limits_by_label(scores, drops), min_sqnr_db=min_sqnr_db)
    found, ladder = Climb(
        judge=judge, probe=probe, limits=limits, bench=bench, retrain=retrain, helping=helping
    ).climb(scheme)
    if not ladder.met:
        tried = "; ".join(ladder_notes(ladder, judge.scores, judged_by=False))
        raise AccuracyError(
            f"quantize: {judged_on(count, helping)} more is lost than "
            f"{'max-drop' if drops else 'min-sqnr'} allows, whatever was tried: {tried}",
            hint=(
                "allow more, or leave more to lose: train longer, prune less"
                if drops
                else _least_kept(found.verdict)
            )
            + _more_bits(scheme),
        )
    return found, ladder, ladder_notes(ladder, judge.scores)


def _with_more_to_judge(feed: "Feed") -> "Feed":
    """Samples of which more judge, where few validate: a signal is a matter of the worst sample,
    which a handful need not have. What calibrated may help, for no label is asked.
    """
    from edgekiln.compiler.onnx_model.feed import FeedPart

    validating = len(feed.parts["val"])
    missing = _FEW_SAMPLES - validating
    if missing <= 0 or not validating or feed.takes.states:
        return feed
    val, calib = feed.parts["val"].inputs, feed.parts["calib"].inputs
    # Of one or two samples some are in both parts: asked twice, one seems to be sure of itself.
    known = set(_bytes_of_samples(val))
    others = (at for at, sample in enumerate(_bytes_of_samples(calib)) if sample not in known)
    more = list(islice(others, missing))
    both = {name: np.concatenate([val[name], calib[name][more]]) for name in val}
    return replace(feed, parts={**feed.parts, "val": FeedPart(inputs=both)}) if more else feed


def _bytes_of_samples(inputs: "Inputs") -> Iterator[tuple[bytes, ...]]:
    """Each sample of a part, to be compared."""
    return (tuple(each.tobytes() for each in row) for row in zip(*inputs.values(), strict=True))


def _more_bits(scheme: "Scheme") -> str:
    """What else there is where embeddings have fewer bits: no step gives them more."""
    if scheme.embedding_bits == WEIGHT_BITS:
        return ""
    return f"; or give embeddings {WEIGHT_BITS} bits, by embedding-bits = {WEIGHT_BITS}"


def _least_kept(verdict: "Verdict") -> str:
    """What to do where no signal is as strong as it is asked for."""
    output = repr(verdict.least_output)
    if verdict.least_db <= LOST_DB:
        return (
            f"{output} is NaN, or zeros alone in the float model: check the weights and the "
            "samples, and leave such an output out of the model"
        )
    kept_db = math.floor(10 * verdict.least_db) / 10
    return (
        f"{output} keeps {kept_db:.1f} dB: ask for no more, or for a float program: edgekiln "
        "build --precision float32"
    )
