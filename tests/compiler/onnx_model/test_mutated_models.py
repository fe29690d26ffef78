"""Files of which a few bytes or fields are something else: they load, or end in one clear error."""

import random
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.quantization import qdq
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.runtime.errors import EdgeKilnError
from tests.compiler.float_models import make, residual

SLOW_S = 20.0  # a mutated model of a few KiB, on a busy machine


def bases() -> list[bytes]:
    """Three small models: convolutions, attention with shape arithmetic, QDQ."""
    attention = make(
        """
        s = Shape <start = 1, end = 2> (x)
        t = Transpose <perm = [0, 2, 1]> (x)
        p = MatMul (x, t)
        a = Softmax <axis = -1> (p)
        v = MatMul (a, x)
        n = LayerNormalization (v, g, b)
        c = Concat <axis = 0> (minus, s, six)
        y = Reshape (n, c)
        """,
        {"g": (6,), "b": (6,)},
        x="N, 5, 6",
        y="N, 5, 6",
        constants={"minus": np.array([-1]), "six": np.array([6])},
    )
    quantized = make(
        """
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        w = DequantizeLinear <axis = 0> (wq, ws)
        y = Gemm <transB = 1> (d, w)
        """,
        {},
        x="N, 6",
        y="N, 4",
        constants={
            "s": np.float32(0.1),
            "z": np.int8(3),
            "wq": np.arange(24, dtype=np.int8).reshape(4, 6),
            "ws": np.ones(4, np.float32),
        },
    )
    return [model.SerializeToString() for model in (residual(), attention, quantized)]


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """A few bytes, or a few fields, made something else."""
    if rng.random() < 0.5:
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 4, 8])):
            content[rng.randrange(len(content))] = rng.choice([0, 127, 255, rng.randrange(256)])
        return bytes(content)
    model = onnx.ModelProto.FromString(whole)
    for _ in range(rng.choice([1, 1, 2, 3])):
        _mutate(model, rng)
    return model.SerializeToString()


def _mutate(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = model.graph
    node = rng.choice(graph.node)
    weight = rng.choice(graph.initializer)
    value = rng.choice([*graph.input, *graph.output])
    extremes = [-1, 0, 1, 7, 2**31, -(2**40)]
    match rng.randrange(9):
        case 0 if node.attribute:
            rng.choice(node.attribute).i = rng.choice(extremes)
        case 1 if node.attribute:
            rng.choice(node.attribute).ints.append(rng.choice(extremes))
        case 2:
            node.op_type = rng.choice(["Conv", "Gemm", "Loop", "Slice", "Resize", "Nonsense"])
        case 3:
            node.input[rng.randrange(len(node.input))] = rng.choice(["", "nobody", "x", "y"])
        case 4:
            weight.dims[:] = [rng.choice([0, -1, 3, 2**31]) for _ in range(rng.randrange(4))]
        case 5:
            weight.data_type = rng.randrange(30)
        case 6:
            value.type.tensor_type.elem_type = rng.randrange(30)
        case 7:
            rng.choice(value.type.tensor_type.shape.dim).dim_value = rng.choice(extremes)
        case _:
            model.opset_import[0].version = rng.choice([-3, 0, 1, 9, 13, 99])


def loads(path: Path) -> bool:
    """Whether a file is taken; one that is can be prepared for the quantizer, or is refused."""
    try:
        model = io.load_model(path)
        if not io.is_quantized(model):
            qdq.quantized_nodes(prepare(model), ())
    except EdgeKilnError:
        return False
    return True


@pytest.mark.parametrize(
    "count", [300, pytest.param(20000, marks=pytest.mark.slow)], ids=["short", "long"]
)
@pytest.mark.parametrize("base", range(3), ids=["convolutions", "attention", "qdq"])
def test_a_mutated_model_loads_or_is_refused(tmp_path, base, count):
    rng, path = random.Random(base), tmp_path / "m.onnx"
    whole = bases()[base]
    outcomes = {True: 0, False: 0}
    for _ in range(count):
        path.write_bytes(mutated(whole, rng))
        began = time.monotonic()
        outcomes[loads(path)] += 1
        assert time.monotonic() - began < SLOW_S
    assert min(outcomes.values()) > count // 20  # both were seen
