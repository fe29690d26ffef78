"""Products of two activations against the exact sums, and against ONNX Runtime's QLinearMatMul."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.epilogue.finish import DequantizeFinish, RequantizeFinish
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.matmul.kernel import MatMulKernel
from edgekiln.compiler.kernels.matmul.spec import Matrices
from edgekiln.compiler.onnx_model.requantize import multiplier
from edgekiln.targets.isa.base import MicroKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Array, everywhere, here, microkernel, quick

SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 19, 33, 64, 65])


def stacked(batch: tuple[int, ...], rows: int, columns: int, *, transposed: bool) -> Matrices:
    """Matrices one after the other; each transposed in memory or not."""
    step = rows * columns
    return Matrices(
        elements=step * prod(batch),
        batch=tuple(step * prod(batch[i + 1 :]) for i in range(len(batch))),
        row=1 if transposed else columns,
        column=rows if transposed else 1,
    )


def multiplied(product: MatMulKernel, mk: MicroKernel, name: str, a: Array, b: Array) -> Array:
    """Both kernels, on operands as they lie in memory."""
    packed = Nhwc(
        n=1, h=1, w=1, c=product.packed_bytes(mk), dtype="int8", scale=1.0, zero_point=0
    )  # fmt: skip
    weights = harness.run(product.pack(mk), name, [b], packed, padded=True)
    return harness.run(built(product, mk), name, [a, weights], product.result)


def check_exact(
    mk: MicroKernel, name: str, batch: tuple[int, ...], size: tuple[int, int, int],
    transposed: bool, as_float: bool, seed: int, tile: int | None = None,
) -> None:  # fmt: skip
    """`tile` counts into the tiles that the product may have, round and round."""
    rng = np.random.default_rng(seed)
    m, k, n = size
    low, high = harness.bounds(mk.activation)
    a: Any = rng.integers(low, high + 1, (*batch, m, k)).astype(mk.activation)
    b: Any = rng.integers(low, high + 1, (*batch, k, n)).astype(mk.activation)
    za, zb, zy = (int(rng.choice([low, high, rng.integers(low, high + 1)])) for _ in range(3))  # type: ignore[arg-type]
    scale_y = None if as_float else 0.01 * 0.02 * 3000 * k**0.5
    y = Nhwc(
        n=1, h=1, w=1, c=prod(batch) * m * n, dtype=mk.activation, scale=scale_y or 1.0,
        zero_point=zy,
    )  # fmt: skip
    mult = multiplier(0.01, 0.02, scale_y)[0]
    finish: Any = RequantizeFinish(mult=np.array([mult]), clip=(low + 20, high - 30))
    if as_float:
        finish = DequantizeFinish(mult=np.array([mult]))
    product = MatMulKernel(
        batch=batch, m=m, k=k, n=n,
        a=stacked(batch, m, k, transposed=False),
        b=stacked(batch, k, n, transposed=transposed),
        y=stacked(batch, m, n, transposed=False),
        result=replace(y, dtype="float32") if as_float else y,
        zero_points=(za, zb),
        finish=finish,
    )  # fmt: skip
    if tile is not None:
        every = product.tiles(mk)
        product = replace(product, tile=every[tile % len(every)])
    lying = np.ascontiguousarray(b.swapaxes(-1, -2) if transposed else b)
    memory = multiplied(product, mk, name, a.reshape(-1), lying.reshape(-1))
    sums = (a.astype(np.int64) - za) @ (b.astype(np.int64) - zb)
    expected: Array = sums.astype(np.int32).astype(np.float32) * mult
    if not as_float:
        expected = harness.requantized(expected, y, (low + 20, high - 30))
    np.testing.assert_array_equal(memory, expected.reshape(-1))


PRODUCTS = given(
    batch=st.sampled_from([(), (1,), (3,), (2, 3)]),
    size=st.tuples(SIZES, SIZES, SIZES),
    transposed=st.booleans(),
    as_float=st.booleans(),
    seed=st.integers(0, 2**16),
)


@everywhere
@PRODUCTS
@quick
def test_products_are_exact(name: str, **product: Any) -> None:
    check_exact(microkernel(name), name, **product)


@here
@given(size=st.tuples(SIZES, SIZES, SIZES), tile=st.integers(0))
@quick
def test_every_register_tile_gives_the_same_bits(
    name: str, size: tuple[int, int, int], tile: int
) -> None:
    check_exact(microkernel(name), name, (2,), size, False, False, seed=1, tile=tile)


def test_a_product_of_few_rows_has_splits_and_every_width_among_its_tiles() -> None:
    mk = microkernel("x86_vnni")
    product = MatMulKernel(
        batch=(), m=1, k=64, n=64,
        a=stacked((), 1, 64, transposed=False),
        b=stacked((), 64, 64, transposed=False),
        y=stacked((), 1, 64, transposed=False),
        result=Nhwc(n=1, h=1, w=1, c=64, dtype="uint8"),
        zero_points=(0, 0), finish=RequantizeFinish(mult=np.ones(1, np.float32)),
    )  # fmt: skip
    tiles = product.tiles(mk)
    assert {tile.lanes for tile in tiles} >= {16, 32, 64}
    assert tiles[0].splits > 1


@everywhere
@given(size=st.tuples(SIZES, SIZES, SIZES), seed=st.integers(0, 2**16))
@quick
def test_products_are_onnx_runtimes(name: str, size: tuple[int, int, int], seed: int) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    m, k, n = size
    low, high = harness.bounds(mk.activation)
    a: Any = rng.integers(low, high + 1, (2, m, k)).astype(mk.activation)
    b: Any = rng.integers(low, high + 1, (2, k, n)).astype(mk.activation)
    za, zb, zy = (int(z) for z in rng.integers(low, high + 1, 3))
    scales = [np.float32(s) for s in (0.013, 0.021, 0.7 * k**0.5)]
    y = Nhwc(
        n=1, h=1, w=1, c=2 * m * n, dtype=mk.activation, scale=float(scales[2]), zero_point=zy
    )  # fmt: skip
    product = MatMulKernel(
        batch=(2,), m=m, k=k, n=n,
        a=stacked((2,), m, k, transposed=False),
        b=stacked((2,), k, n, transposed=False),
        y=stacked((2,), m, n, transposed=False),
        result=y, zero_points=(za, zb),
        finish=RequantizeFinish(mult=multiplier(*map(float, scales)), clip=(low, high)),
    )  # fmt: skip
    memory = multiplied(product, mk, name, a.reshape(-1), b.reshape(-1))
    zeros = [np.array(z, mk.activation) for z in (za, zb, zy)]
    inputs = {"a": a, "sa": scales[0], "za": zeros[0], "b": b, "sb": scales[1], "zb": zeros[1]}
    expected = harness.ort("QLinearMatMul", inputs | {"sy": scales[2], "zy": zeros[2]})
    np.testing.assert_array_equal(memory, expected.reshape(-1))
