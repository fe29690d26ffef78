"""Anything that predicts, on the held-out samples of a data set."""

from collections.abc import Callable
from typing import Literal

from edgekiln.compiler.evaluation.report import Evaluation, Examination
from edgekiln.compiler.evaluation.subject import Subject
from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.runtime.errors import ConfigError


def examine(
    subject: Subject,
    *,
    data: str,
    seed: int,
    split: Literal["test", "val"] = "test",
    samples: int = 0,
    advance: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
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
    total = min(wanted or feed.count(split), feed.count(split))
    examination = Examination(feed.name, feed.heads, feed.facts, feed.targets(split))
    done = 0
    for given in feed.batches(split, batch=subject.batch, samples=wanted):
        count = feed.takes.samples_in(given)
        # The first output counts: (count, classes), or an autoencoder's copy of its input.
        outputs = dict(zip(subject.gives, subject.predict(given), strict=True))
        examination.add(outputs, given, count)
        done += count
        advance(done, total, "evaluating")
    return examination.report(subject.costs)
