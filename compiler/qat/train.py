"""Quantization-aware training: a quantized model learns to live with its rounding.

The network computes the integer program's codes from the first step on, so that what is measured
here is what the program will do. It learns from the float model that it was made of (its outputs,
softened) and, where the data has them, from labels. Batch norms are folded into the weights by
then: their statistics stay what they were.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.compiler.qat.float_teacher import FloatTeacher, ends_of_model
from edgekiln.compiler.qat.network import QuantizedNetwork
from edgekiln.compiler.qat.samples import lessons
from edgekiln.compiler.qat.write import to_model
from edgekiln.compiler.quantization.products import WEIGHT_BITS
from edgekiln.compiler.training.augment import Augment
from edgekiln.compiler.training.batches import Batches
from edgekiln.compiler.training.classroom import Teaching
from edgekiln.compiler.training.fit import fit
from edgekiln.compiler.training.imitation import Imitation, Ramp
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.options import FitOptions
from edgekiln.runtime.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.compiler.training.score import SplitScore

_LEAST_EMA = 20  # updates, of which an average is made


@dataclass(frozen=True, kw_only=True)
class QatOptions:
    """How to train.

    Args:
        learning_rate: the largest, of parameters without a unit: a weight's is its channel's range.
        alpha: share of the float model in the loss; 1 where there are no labels.
        weight_bits: of a weight, 2 to 8; below 8 they are kept in int8, ±7 for 4 bits.
    """

    epochs: int
    learning_rate: float = 1e-3
    batch_size: int = 64
    alpha: float = 0.7
    temperature: float = 4.0
    ema: float = 0.99
    shift: int = 0
    flip: bool = False
    weight_bits: int = WEIGHT_BITS
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class QatResult:
    """`model`: the trained one; what training began with where no epoch was better: the given one,
    or, of fewer bits, its weights rounded to these.

    Args:
        best_epoch: counted from 1; 0 where no epoch was better.
        start, score: on the validation split, of the given and of the returned model. Without
            labels of agreement with the float model.
    """

    model: "onnx.ModelProto"
    best_epoch: int
    start: "SplitScore"
    score: "SplitScore"
    labelled: bool

    @property
    def learned_from_labels(self) -> bool:
        """Whether labels say that the returned model is the better one."""
        return self.labelled and self.best_epoch > 0

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers for the report."""
        return {
            "qat_best_epoch": self.best_epoch,
            **self.start.metrics("val", "_before_qat"),
            **self.score.metrics("val", "_after_qat"),
        }

    @property
    def note(self) -> str:
        """What the user should know of it."""
        of = "val" if self.labelled else "val agreement with the float model"
        if not self.best_epoch:
            return (
                f"quantization-aware training made it no better than {of} {self.start}: the "
                "numbers it began with are kept"
            )
        return f"quantization-aware training: {of} {self.start} before, {self.score} after"


def train_quantized(
    quantized: "onnx.ModelProto",
    source: "onnx.ModelProto",
    feed: "Feed",
    options: QatOptions,
    *,
    checkpoint_path: "Path",
    advance: Advance = silent,
    logs: "Path | None" = None,
) -> QatResult:
    """Train a QDQ model on the training split; the epoch best on the validation split is kept.

    Args:
        quantized: what `qdq.quantize` made of `source`; not changed.
        source: the float model, as `prepare` left it: the teacher, and what is rounded.
        feed: samples of that model.
        checkpoint_path: where every epoch ends; the same call goes on from there.

    Raises:
        UnsupportedError: an operator has no trained form; the message names it.
        TrainingError: the loss is no longer finite.
    """
    teacher = FloatTeacher(source, feed.takes)
    taught = lessons(feed, teacher)
    network = QuantizedNetwork(
        quantized, source, ends=ends_of_model(quantized), weight_bits=options.weight_bits,
        shapes=[each.shape for each in feed.takes.inputs],
    )  # fmt: skip
    # An operator that is refused is refused before an hour is spent.
    first = next(
        Batches(
            split=taught.data.val, preprocessing=taught.data.preprocessing, batch_size=2
        ).in_order()
    )
    with torch.no_grad():
        network(*first.arguments)
    steps = options.epochs * max(1, len(taught.data.train) // options.batch_size)
    objective = Objective(
        task=taught.data.task,
        imitation=Imitation(
            alpha=Ramp(start=options.alpha if taught.labelled else 1.0),
            temperature=Ramp(start=options.temperature),
        ),
    )
    fit_options = FitOptions(
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer="adamw",
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        warmup_epochs=min(1.0, 0.1 * options.epochs),
        ema=options.ema if steps >= _LEAST_EMA else 0.0,
        augment=Augment(shift=options.shift, flip=options.flip),
        seed=options.seed,
    )
    try:
        result = fit(
            network, taught.data, objective, fit_options,
            checkpoint_path=checkpoint_path, teaching=Teaching(networks=(teacher,)),
            advance=advance, logs=logs,
        )  # fmt: skip
    except TrainingError as error:
        raise TrainingError(
            f"quantization-aware {error.message}",
            hint=f"lower --qat-learning-rate, e.g. to {options.learning_rate / 10:.3g}",
        ) from error
    found = QatResult(
        model=quantized, best_epoch=result.best_epoch, start=result.start, score=result.score,
        labelled=taught.labelled,
    )  # fmt: skip
    # What training began with is the given model, unless weights were to have fewer bits.
    if not result.best_epoch and options.weight_bits == WEIGHT_BITS:
        return found
    return replace(found, model=to_model(network))
