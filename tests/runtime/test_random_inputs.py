"""Random inputs: of each type as much of it as a program may be given."""

import numpy as np
import pytest

from edgekiln.runtime.manifest import TensorSpec
from edgekiln.runtime.random_inputs import random_input

SHAPE = (1, 4000)


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec(name="x", shape=SHAPE, dtype="int8"),
        TensorSpec(name="x", shape=SHAPE, dtype="uint8", scale=0.1, zero_point=3),
        TensorSpec(name="x", shape=SHAPE, dtype="int16", scale=1e-4, zero_point=0),
        TensorSpec(name="x", shape=SHAPE, dtype="int16", rate_hz=16000),
    ],
)
def test_codes_and_samples_of_sound_reach_from_end_to_end(spec: TensorSpec) -> None:
    drawn, limits = random_input(spec, np.random.default_rng(0)), np.iinfo(spec.dtype)
    assert drawn.dtype == spec.dtype
    room = (limits.max - limits.min) // 100
    assert drawn.min() <= limits.min + room < limits.max - room <= drawn.max()


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64"])
def test_what_may_number_rows_is_0_or_1(dtype: str) -> None:
    spec = TensorSpec(name="x", shape=SHAPE, dtype=dtype)
    assert set(np.unique(random_input(spec, np.random.default_rng(0)))) == {0, 1}
