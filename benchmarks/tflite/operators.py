"""Small TFLite models of one operator each, with random weights."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.benchmarks.tflite.writer import TfliteWriter, UnsignedWriter, unsigned

Array = NDArray[np.generic]


@dataclass(frozen=True)
class TfliteCase:
    """A file, and inputs that go into it."""

    file: bytes
    inputs: tuple[Array, ...]


_writer: ContextVar[type[TfliteWriter]] = ContextVar("_writer", default=TfliteWriter)


def new_writer() -> TfliteWriter:
    """A writer of codes of int8, or of uint8 inside of `of_unsigned`."""
    return _writer.get()()


def of_unsigned(make: "Make", rng: np.random.Generator) -> TfliteCase:
    """A case in codes of uint8."""
    case = written_by(UnsignedWriter, make, rng)
    return TfliteCase(case.file, tuple(map(unsigned, case.inputs)))


def written_by(writer: type[TfliteWriter], make: "Make", rng: np.random.Generator) -> TfliteCase:
    """A case as another writer writes it."""
    token = _writer.set(writer)
    try:
        return make(rng)
    finally:
        _writer.reset(token)


Make = Callable[[np.random.Generator], TfliteCase]


def codes(rng: np.random.Generator, *shape: int) -> NDArray[np.int8]:
    return rng.integers(-128, 128, shape).astype(np.int8)


def scale(rng: np.random.Generator, low: float = 0.01, high: float = 0.2) -> float:
    """Every third one is a power of two, so that there are ties."""
    if rng.integers(3) == 0:
        return float(2.0 ** -rng.integers(3, 7))
    return float(np.float32(rng.uniform(low, high)))


def zero(rng: np.random.Generator) -> int:
    return int(rng.integers(-128, 128))


def _layer(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...], weights: tuple[int, ...],
    out: tuple[int, ...], options: str, axis: int, **given: object,
) -> TfliteCase:  # fmt: skip
    w = new_writer()
    count = weights[axis]
    of_x, taps = scale(rng), int(np.prod(weights)) // count
    of_w = rng.uniform(0.002, 0.02, count).astype(np.float32)
    of_w[::2] = 2.0**-7
    single = kind == "FULLY_CONNECTED"
    of_w = of_w[:1] if single else of_w
    x = w.tensor(shape, scale=of_x, zero=zero(rng))
    k = w.constant(codes(rng, *weights), of_w.tolist(), 0, axis)
    of_y = float(np.float32(of_x * of_w.mean() * 5000 * np.sqrt(taps) / 60))
    y = w.tensor(out, scale=of_y if rng.integers(2) else 2.0 ** np.rint(np.log2(of_y)),
                 zero=zero(rng))  # fmt: skip
    values = rng.integers(-20000, 20000, count).astype(np.int32)
    offsets = w.constant(values, (of_x * of_w).astype(np.float32).tolist(), 0, 0)
    if kind == "TRANSPOSE_CONV":
        size = w.constant(np.array(out, np.int32))
        operands = [size, k, x, offsets]
    else:
        operands = [x, k, offsets]
    w.op(kind, operands, y, options, **given)
    return TfliteCase(w.file([x], [y]), (codes(rng, *shape),))


def conv(rng: np.random.Generator) -> TfliteCase:
    return _layer(
        rng, "CONV_2D", (1, 9, 8, 5), (7, 3, 2, 5), (1, 5, 4, 7), "Conv2D", 0,
        stride_w=2, stride_h=2, activation=int(rng.choice([0, 1, 3])),
    )  # fmt: skip


def dilated_conv(rng: np.random.Generator) -> TfliteCase:
    return _layer(
        rng, "CONV_2D", (1, 9, 8, 5), (7, 3, 2, 5), (1, 5, 6, 7), "Conv2D", 0,
        padding=1, stride_w=1, stride_h=1, dilation_w=2, dilation_h=2,
    )  # fmt: skip


def depthwise(rng: np.random.Generator) -> TfliteCase:
    return _layer(
        rng, "DEPTHWISE_CONV_2D", (1, 9, 8, 6), (1, 3, 3, 6), (1, 9, 8, 6), "DepthwiseConv2D", 3,
        stride_w=1, stride_h=1, multiplier=1, activation=1,
    )  # fmt: skip


def multiplied_depthwise(rng: np.random.Generator) -> TfliteCase:
    return _layer(
        rng, "DEPTHWISE_CONV_2D", (1, 9, 8, 3), (1, 3, 3, 6), (1, 5, 4, 6), "DepthwiseConv2D", 3,
        stride_w=2, stride_h=2, multiplier=2,
    )  # fmt: skip


def dense(rng: np.random.Generator) -> TfliteCase:
    return _layer(
        rng, "FULLY_CONNECTED", (3, 20), (12, 20), (3, 12), "FullyConnected", 0,
        activation=int(rng.choice([0, 1])),
    )  # fmt: skip


def transposed_conv(rng: np.random.Generator) -> TfliteCase:
    return _layer(
        rng, "TRANSPOSE_CONV", (1, 4, 5, 3), (4, 3, 3, 3), (1, 8, 10, 4), "TransposeConv", 0,
        stride_w=2, stride_h=2,
    )  # fmt: skip


def _binary(kind: str, shape: tuple[int, ...], other: tuple[int, ...], *, constant: bool) -> Make:
    def make(rng: np.random.Generator) -> TfliteCase:
        w = new_writer()
        a = w.tensor(shape, scale=scale(rng), zero=zero(rng))
        values = codes(rng, *other)
        of_b, zero_b = scale(rng), zero(rng)
        b = w.constant(values, of_b, zero_b) if constant else w.tensor(other, "int8", of_b, zero_b)
        y = w.tensor(shape, scale=scale(rng), zero=zero(rng))
        options = "" if kind == "PRELU" else kind.capitalize()
        given = {"activation": int(rng.choice([0, 1]))} if options else {}
        w.op(kind, [a, b], y, options, **given)
        inputs = (codes(rng, *shape),) if constant else (codes(rng, *shape), values)
        return TfliteCase(w.file([a] if constant else [a, b], [y]), inputs)

    return make


def _unary(
    kind: str,
    options: str = "",
    to: str = "int8",
    out: tuple[float, int] | None = None,
    **given: object,
) -> Make:
    """`out` are the scale and zero point of the result, if they are not free."""

    def make(rng: np.random.Generator) -> TfliteCase:
        w = new_writer()
        x = w.tensor((1, 256), scale=scale(rng), zero=zero(rng))
        of_y, zero_y = out or (scale(rng), zero(rng) + (128 if to == "uint8" else 0))
        y = w.tensor((1, 256), to, of_y, zero_y)
        w.op(kind, [x], y, options, **given)
        # Every code once: the whole table is seen.
        return TfliteCase(w.file([x], [y]), (np.arange(-128, 128).astype(np.int8)[None],))

    return make


def _pool(kind: str, *, padding: int, activation: int = 0) -> Make:
    def make(rng: np.random.Generator) -> TfliteCase:
        w = new_writer()
        of_x, zero_x = scale(rng), zero(rng)
        x = w.tensor((1, 9, 8, 5), scale=of_x, zero=zero_x)
        # padding: 0 is SAME, ⌈9/2⌉ by ⌈8/2⌉; 1 is VALID.
        size = (4, 4) if padding else (5, 4)
        y = w.tensor((1, *size, 5), scale=of_x, zero=zero_x)
        w.op(
            kind, [x], y, "Pool2D", padding=padding, stride_w=2, stride_h=2, filter_w=2,
            filter_h=3, activation=activation,
        )  # fmt: skip
        return TfliteCase(w.file([x], [y]), (codes(rng, 1, 9, 8, 5),))

    return make


def mean(rng: np.random.Generator) -> TfliteCase:
    w = new_writer()
    of_x, zero_x = scale(rng), zero(rng)
    x = w.tensor((1, 7, 5, 6), scale=of_x, zero=zero_x)
    axes = w.constant(np.array([1, 2], np.int32))
    same = bool(rng.integers(2))
    y = w.tensor((1, 6), scale=of_x if same else scale(rng), zero=zero_x if same else zero(rng))
    w.op("MEAN", [x, axes], y, "Reducer", keep_dims=False)
    return TfliteCase(w.file([x], [y]), (codes(rng, 1, 7, 5, 6),))


def softmax(rng: np.random.Generator) -> TfliteCase:
    w = new_writer()
    x = w.tensor((4, 17), scale=scale(rng, 0.01, 0.5), zero=zero(rng))
    y = w.tensor((4, 17), scale=1 / 256, zero=-128)
    w.op("SOFTMAX", [x], y, "Softmax", beta=float(rng.choice([1.0, 0.5])))
    return TfliteCase(w.file([x], [y]), (codes(rng, 4, 17),))


def quantize(rng: np.random.Generator) -> TfliteCase:
    w = new_writer()
    x, of_y = w.tensor((1, 300), "float32"), scale(rng)
    y = w.tensor((1, 300), scale=of_y, zero=zero(rng))
    w.op("QUANTIZE", [x], y)
    # Half of the values lie between two codes, where a rule of rounding shows.
    ties = (rng.integers(-300, 300, 150) + 0.5) * of_y
    values = np.concatenate([ties, rng.normal(0, of_y * 90, 150)]).astype(np.float32)
    return TfliteCase(w.file([x], [y]), (values[None],))


def _moving(
    kind: str, out: tuple[int, ...], operands: Mapping[int, object], options: str = "",
    more: tuple[tuple[int, ...], ...] = (), x_place: int = 0, shape: tuple[int, ...] = (1, 6, 4, 8),
    **given: object,
) -> Make:  # fmt: skip
    """Args: operands: constants by their places; more: shapes of further results."""

    def make(rng: np.random.Generator) -> TfliteCase:
        w = new_writer()
        of_x, zero_x = scale(rng), zero(rng)
        x = w.tensor(shape, scale=of_x, zero=zero_x)
        places = {p: w.constant(np.array(v, np.int32)) for p, v in operands.items()}
        places[x_place] = x
        ys = [w.tensor(each, scale=of_x, zero=zero_x) for each in (out, *more)]
        w.op(kind, [places[p] for p in sorted(places)], ys, options, **given)
        return TfliteCase(w.file([x], ys), (codes(rng, *shape),))

    return make


def concatenation(rng: np.random.Generator) -> TfliteCase:
    w = new_writer()
    of_x, zero_x = scale(rng), zero(rng)
    a, b = (w.tensor((1, 3, 4, c), scale=of_x, zero=zero_x) for c in (2, 5))
    y = w.tensor((1, 3, 4, 7), scale=of_x, zero=zero_x)
    w.op("CONCATENATION", [a, b], y, "Concatenation", axis=-1)
    return TfliteCase(w.file([a, b], [y]), (codes(rng, 1, 3, 4, 2), codes(rng, 1, 3, 4, 5)))


_IMAGE = (1, 4, 3, 6)
CASES: Mapping[str, Make] = {
    "CONV_2D": conv,
    "CONV_2D, dilated": dilated_conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "DEPTHWISE_CONV_2D, two a channel": multiplied_depthwise,
    "FULLY_CONNECTED": dense,
    "TRANSPOSE_CONV": transposed_conv,
    **{
        f"{kind}{what}": _binary(kind, _IMAGE, other, constant=constant)
        for kind in ("ADD", "SUB", "MUL")
        for what, other, constant in (
            ("", _IMAGE, False), (" a channel", (1, 1, 1, 6), True),
            (" a number", (1, 1, 1, 1), True),
        )
    },
    "PRELU": _binary("PRELU", _IMAGE, (1, 1, 6), constant=True),
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D", padding=0),
    "AVERAGE_POOL_2D, valid": _pool("AVERAGE_POOL_2D", padding=1, activation=1),
    "MAX_POOL_2D": _pool("MAX_POOL_2D", padding=0, activation=1),
    "MEAN": mean,
    "SOFTMAX": softmax,
    "QUANTIZE": quantize,
    "QUANTIZE of codes": _unary("QUANTIZE"),
    "QUANTIZE to uint8": _unary("QUANTIZE", to="uint8"),
    "RELU": _unary("RELU"),
    "RELU6": _unary("RELU6"),
    "LEAKY_RELU": _unary("LEAKY_RELU", "LeakyRelu", alpha=0.125),
    "LOGISTIC": _unary("LOGISTIC", out=(1 / 256, -128)),
    "TANH": _unary("TANH", out=(1 / 128, 0)),
    "HARD_SWISH": _unary("HARD_SWISH"),
    "CONCATENATION": concatenation,
    "RESHAPE": _moving("RESHAPE", (1, 12, 16), {1: [1, 12, 16]}, "Reshape", new_shape=[1, 12, 16]),
    "SQUEEZE": _moving("SQUEEZE", (6, 4, 8), {}, "Squeeze", axes=[0]),
    "TRANSPOSE": _moving("TRANSPOSE", (1, 8, 6, 4), {1: [0, 3, 1, 2]}),
    "PAD": _moving("PAD", (1, 8, 5, 8), {1: [[0, 0], [1, 1], [0, 1], [0, 0]]}),
    "STRIDED_SLICE": _moving(
        "STRIDED_SLICE", (1, 2, 4, 3), {1: [0, 1, 0, 2], 2: [1, 5, 4, 8], 3: [1, 2, 1, 2]},
        "StridedSlice",
    ),
    "SPLIT": _moving(
        "SPLIT", (1, 6, 4, 4), {0: [3]}, "Split", ((1, 6, 4, 4),), x_place=1, splits=2
    ),
    "SPLIT_V": _moving(
        "SPLIT_V", (1, 2, 4, 8), {1: [2, 4], 2: [1]}, "SplitV", ((1, 4, 4, 8),), splits=2
    ),
    "DEPTH_TO_SPACE": _moving("DEPTH_TO_SPACE", (1, 12, 8, 2), {}, "DepthToSpace", block=2),
    "SPACE_TO_DEPTH": _moving("SPACE_TO_DEPTH", (1, 3, 2, 32), {}, "SpaceToDepth", block=2),
    "RESIZE_NEAREST_NEIGHBOR": _moving(
        "RESIZE_NEAREST_NEIGHBOR", (1, 12, 8, 8), {1: [12, 8]}, "ResizeNearestNeighbor",
        half_pixel_centers=True,
    ),
}  # fmt: skip
