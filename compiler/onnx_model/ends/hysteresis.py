"""Scores become decisions that do not flutter: they change at two thresholds, and after some steps.

Schmitt, A Thermionic Trigger (J. Sci. Instrum. 15, 1938), with a count of the calls in a row that
want the change.
"""

from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import EndStep, finite
from edgekiln.models.spec import split
from edgekiln.runtime.typed import did_you_mean, whole_number

_KEYS = ("off", "steps")
_MOST_STEPS = 1 << 20  # which float32 counts exactly


@dataclass(frozen=True, kw_only=True)
class HysteresisOptions:
    """A decision becomes true after `steps` scores in a row of at least `on`, and false after as
    many below `off`.
    """

    on: float
    off: float
    steps: int


def read(step: EndStep) -> HysteresisOptions:
    """Read what stands behind "hysteresis=". Raises ConfigError: an option that does not fit."""
    text, given = split(step.spec)
    for key in given:
        if key not in _KEYS:
            raise step.wrong(
                f"no option {key!r}", hint=did_you_mean(key, _KEYS, what="options are")
            )
    on, off = finite(text), finite(given.get("off", text))
    if on is None or off is None or np.float32(off) > np.float32(on):
        raise step.wrong(
            "the two thresholds do not fit",
            hint="write hysteresis=ON?off=OFF, two numbers, OFF not above ON",
        )
    steps = whole_number(given.get("steps", "1"), _MOST_STEPS)
    if not steps:
        raise step.wrong(
            f"steps={given['steps']} does not fit",
            hint=f"give a whole number from 1 to {_MOST_STEPS}",
        )
    return HysteresisOptions(on=on, off=off, steps=steps)


def decided(end: GraphEnd, step: EndStep, scores: str, shape: tuple[int, ...], result: str) -> str:
    """Write the way from scores, (N, *shape), to decisions; returns their name.

    The one state is a count of steps: of those that want the change, n; where the decision is true,
    -1 - n, so that all begin at zero, false.
    """
    options = read(step)
    state = end.remember("hysteresis", shape)
    numbers = {"on": options.on, "off": options.off, "steps": options.steps}
    constants = [end.constant(np.array(n, np.float32), name) for name, n in numbers.items()]
    after = end.own("Hysteresis", scores, state, *constants, what="hysteresis")
    end.keep(state, after)
    zero = end.constant(np.array(0, np.float32), "undecided")
    return end.op("Less", after, zero, result=result)
