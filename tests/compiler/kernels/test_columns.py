"""Columns become indices, against numpy, scikit-learn's hash and ONNX Runtime, bit by bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.columns import BucketKernel, HashKernel
from edgekiln.compiler.onnx_model import own_functions
from edgekiln.compiler.onnx_model.ends.functions import DOMAIN
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.models.column_indices import MOST_INDICES, bucket_indices, hash_indices
from tests.compiler.kernels.harness import microkernel, quick, run
from tests.compiler.kernels.test_suppression import somewhere
from tests.models.murmur import murmur3

Array = NDArray[Any]
DTYPES = st.sampled_from(["int32", "int64"])
FLOATS = st.floats(width=32)
IDS = st.integers(-(2**63), 2**63 - 1)


def onnx_runtimes(operator: str, x: Array, operand: Array, dtype: str) -> Array:
    """What the function beside the node computes."""
    kinds = [helper.np_dtype_to_tensor_dtype(each) for each in (x.dtype, np.dtype(dtype))]
    node = helper.make_node(operator, ["x", "how"], ["y"], domain=DOMAIN, to=kinds[1])
    values = [
        helper.make_tensor_value_info(name, kind, [len(x)])
        for name, kind in zip("xy", kinds, strict=True)
    ]
    model = helper.make_model(
        helper.make_graph(
            [node], "column", values[:1], values[1:], [numpy_helper.from_array(operand, "how")]
        ),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=9,
    )  # fmt: skip
    own_functions.declare(model)
    return Session(model, optimize=False)(x)[0]


def test_the_hash_is_murmur3() -> None:
    assert murmur3(b"test") == 0xBA6BD213  # of the reference's own test vectors
    assert murmur3(b"") == 0
    sklearn = pytest.importorskip("sklearn.utils")
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 500)
    right = [sklearn.murmurhash3_32(each.tobytes(), positive=True) for each in ids]
    assert right == [murmur3(each.tobytes()) for each in ids]


@st.composite
def numbers(draw: st.DrawFn) -> tuple[Array, Array]:
    """Edges, and values that are often one of them."""
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    edges = draw(st.lists(finite, min_size=1, max_size=9, unique_by=lambda each: each + 0.0))
    values = draw(st.lists(st.sampled_from(edges) | FLOATS, min_size=1, max_size=20))
    return np.sort(np.array(edges, np.float32)), np.array(values, np.float32)


@somewhere
@quick
@given(numbers(), DTYPES)
@example(
    (np.array([0, 18], np.float32), np.array([np.nan, -0.0, 0, 17.999999, 18, np.inf], np.float32)),
    "int64",
)
def test_a_number_becomes_its_bucket(name: str, case: tuple[Array, Array], dtype: str) -> None:
    edges, values = case
    kernel = BucketKernel(elements=len(values), edges=edges, dtype=dtype)
    rows = Nhwc(n=1, h=1, w=1, c=len(values), dtype=dtype)
    found = run(kernel.build(microkernel(name)), name, [values], rows)
    right = np.searchsorted(edges, values, side="right")
    np.testing.assert_array_equal(found, right)
    np.testing.assert_array_equal(onnx_runtimes("Bucket", values, edges, dtype), right)
    np.testing.assert_array_equal(bucket_indices(values, edges), right)


@somewhere
@quick
@given(st.lists(IDS, min_size=1, max_size=20), st.integers(1, MOST_INDICES), DTYPES)
@example([0, -1, 2**63 - 1, -(2**63), 2**32, 2**31], MOST_INDICES, "int32")
@example([7, 8, 9], 1, "int64")
def test_an_id_becomes_its_hash(name: str, ids: list[int], count: int, dtype: str) -> None:
    values = np.array(ids, np.int64)
    kernel = HashKernel(elements=len(ids), count=count, dtype=dtype)
    rows = Nhwc(n=1, h=1, w=1, c=len(ids), dtype=dtype)
    found = run(kernel.build(microkernel(name)), name, [values], rows)
    right = [murmur3(each.tobytes()) % count for each in values]
    assert found.tolist() == right
    assert onnx_runtimes("HashIndex", values, np.array([count], np.uint32), dtype).tolist() == right
    assert hash_indices(values, count).tolist() == right
