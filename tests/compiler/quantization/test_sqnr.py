import numpy as np
import pytest

from edgekiln.compiler.quantization.sqnr import PERFECT_DB, Sqnr


def test_noise_of_a_hundredth_is_40_db():
    signal = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    sqnr = Sqnr()
    for row in signal:
        sqnr.add(row, row * np.float32(1.01))
    assert sqnr.db == pytest.approx(40.0, abs=1e-3)


def test_equal_outputs_have_no_noise():
    sqnr = Sqnr()
    sqnr.add(np.ones(3, np.float32), np.ones(3, np.float32))
    assert sqnr.db == PERFECT_DB


def test_noise_without_a_signal_is_the_worst_there_is():
    sqnr = Sqnr()
    sqnr.add(np.zeros(3, np.float32), np.ones(3, np.float32))
    assert sqnr.db == -PERFECT_DB
