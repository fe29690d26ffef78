"""Whole streams of speech: what is cut off, and what is carried from chunk to chunk."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgekiln.benchmarks import speech


def test_a_rest_that_fills_no_chunk_is_left_out() -> None:
    sound = np.arange(1100, dtype=np.float32)
    found = speech.chunks(sound)
    assert found.shape == (2, 512)
    np.testing.assert_array_equal(found.reshape(-1), sound[:1024])


def test_the_float_network_hears_the_end_of_the_chunk_before() -> None:
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        pytest.skip("silero-vad is not installed (pip install --no-deps silero-vad)")
    network = speech.FloatNetwork(Path(found.origin).parent / "data" / "silero_vad.onnx")
    rng = np.random.default_rng(0)
    first, other, last = rng.normal(0, 0.1, (3, 512)).astype(np.float32)
    (_, after_first), (_, after_other) = (network(np.stack([x, last])) for x in (first, other))
    assert after_first != after_other
    np.testing.assert_array_equal(
        network(np.stack([first, last])), network(np.stack([first, last]))
    )
