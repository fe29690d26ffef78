"""Anything that predicts, on the held-out samples of a data set."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.evaluation.report import Evaluation, Examination
from edgekiln.compiler.evaluation.subject import Subject
from edgekiln.compiler.onnx_model.feed import Feed, feed_for
from edgekiln.compiler.onnx_model.model_inputs import Inputs
from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.runtime.errors import ConfigError

Split: TypeAlias = Literal["test", "val"]


def examine(
    subject: Subject,
    *,
    data: str,
    seed: int,
    split: Split = "test",
    samples: int = 0,
    advance: Advance = silent,
) -> Evaluation:
    """How good the subject is.

    Args:
        samples: the first ones; 0: all, or as many as an emulator has time for.
        advance: told how many samples are done, of how many.

    Raises:
        ConfigError: the samples have no labels.
        InputError: the subject's outputs are no answers to them.
    """
    feed = feed_for(subject.meta, subject.takes, data=data, seed=seed)
    if not feed.scored:
        raise ConfigError(
            f"{feed.name}: its samples have no labels: no accuracy",
            hint="`edgekiln build` shows how a model agrees with the float one on them",
        )
    # An AUC takes both kinds of samples, which may lie far apart.
    whole = any(head.task.best_by == "loss" for head in feed.heads)
    wanted = samples or (0 if whole else subject.samples_in_time)
    examination = Examination(feed.name, feed.heads, feed.facts, feed.targets(split))
    for given, told, count in predictions(subject, feed, split, wanted, advance, "evaluating"):
        # The first output counts: (count, classes), or an autoencoder's copy of its input.
        examination.add(dict(zip(subject.gives, told, strict=True)), given, count)
    return examination.report(subject.costs)


def predictions(
    subject: Subject, feed: Feed, split: Split, samples: int, advance: Advance, doing: str
) -> Iterator[tuple[Inputs, list[NDArray[np.generic]], int]]:
    """Call by call, what the subject is given, its outputs, and how many samples they are of.

    Args:
        samples: the first ones of the split; 0: all.
        advance: told, after each call, how many samples are done, of how many, and `doing`.
    """
    total = min(samples or feed.count(split), feed.count(split))
    done = 0
    for given in feed.batches(split, batch=subject.batch, samples=samples):
        count = feed.takes.samples_in(given)
        yield given, subject.predict(given), count
        done += count
        advance(done, total, doing)
