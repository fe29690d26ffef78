"""NumPy's files are read without believing what they say of themselves."""

import numpy as np
import pytest

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.npy import read_npy

DRAW = np.random.default_rng(0)


def header(text, version=b"\1\0"):
    """A `.npy` file with any text for its header, and 16 bytes behind it."""
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + bytes(16)


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4)}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (header(PLAIN.replace("(1, 4)", "(1 << 40,)")), "no dictionary"),
        (header(PLAIN.replace("(1, 4)", f"({1 << 40},)")), "16 are there"),
        (header(PLAIN.replace("(1, 4)", f"({1 << 60},)")), "holds what is no extent"),
        (header(PLAIN.replace("(1, 4)", "(-1, 4)")), "holds what is no extent"),
        (header(PLAIN.replace("(1, 4)", "(True, 4)")), "holds what is no extent"),
        (header(PLAIN.replace("(1, 4)", "4")), "no tuple"),
        (header(PLAIN.replace("(1, 4)", "(" + "1, " * 40 + "4)")), "no tuple"),
        (header(PLAIN.replace("<f4", "|O")), "Python objects"),
        (header(PLAIN.replace("<f4", "<U4")), "no plain number"),
        (header(PLAIN.replace("<f4", "<f16")), "no plain number"),
        (header(PLAIN.replace("<f4", "f4,f4")), "no plain number"),
        (header(PLAIN.replace("'<f4'", "[('a', '<f4')]")), "no plain number"),
        (header(PLAIN.replace("False", "2")), "neither True nor False"),
        (header(PLAIN.replace("'shape'", "'form'")), "has not the keys"),
        (header("[" * 300), "no dictionary"),
        (header(PLAIN + "\0"), "no dictionary"),
        (header("__import__('os').system('true')"), "no dictionary"),
        (header(PLAIN, version=b"\7\0"), "its version"),
        (header(PLAIN)[:40], "is not there"),
        (header(PLAIN)[:-1], "15 are there"),
    ],
)
def test_headers_are_not_believed(tmp_path, content, problem):
    (tmp_path / "a.npy").write_bytes(header(PLAIN))
    assert read_npy(tmp_path / "a.npy").shape == (1, 4)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_npy(tmp_path / "a.npy")
    assert caught.value.hint


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f2"])
def test_arrays_of_every_order_are_read(tmp_path, order, dtype):
    x = DRAW.integers(-9, 9, (2, 3, 5, 7)).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", x)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), x)
