"""Curves that travel with an artifact are few numbers, whatever the training was."""

import json
import math

from edgekiln.compiler.pipeline.curve import MOST_POINTS, TrainingCurves, curves_of
from edgekiln.runtime.codec import decode, encode


def test_a_long_training_is_thinned_and_keeps_its_last_epoch() -> None:
    history = [{"loss/train": 1 / epoch} for epoch in range(1, 1235)]
    found = curves_of("student", history, {})
    assert MOST_POINTS / 2 < len(found.epochs) <= MOST_POINTS
    assert found.epochs[-1] == 1234
    assert found.series["loss/train"][-1] == float(f"{1 / 1234:.5g}")
    assert (
        len({late - early for early, late in zip(found.epochs, found.epochs[1:], strict=False)})
        == 1
    )


def test_a_number_that_is_none_leaves_a_gap_and_the_rest_is_json() -> None:
    found = curves_of("student", [{"loss": math.inf}, {"loss": 1.0}], {"loss": math.nan})
    assert found.series == {"loss": (None, 1.0)}
    assert found.teacher == {}
    assert decode(TrainingCurves, json.loads(json.dumps(encode(found)))) == found
