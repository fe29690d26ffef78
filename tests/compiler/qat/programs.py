"""A network under training beside the integer program of the same model."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.qat.network import QuantizedNetwork
from edgekiln.compiler.qat.values import QuantizedValue, real
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.e2e.compiled_models import build

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGET = "x86-64-v3"


def differing(model: Path, network: QuantizedNetwork, seed: int = 0) -> dict[str, int]:
    """For each tensor that the program of a model stores: how many of its codes, or floats, are
    not the network's, on a sample whose input has all its codes.
    """
    runner = AotRunner.open(build(model, profile.load(TARGET)))
    rng = np.random.default_rng(seed)
    arrays = [_sample(io.load_model(model), spec.name, spec.shape, rng) for spec in runner.inputs]
    runner.begin(*arrays)
    stored = {}
    for index, layer in enumerate(runner.spec.layers):
        runner.step(index)
        mine = runner.layer_output(layer)
        if mine is not None and layer.output is not None:
            zero = layer.output.zero_point
            stored[layer.name] = mine if zero is None else mine.astype(np.int64) - zero
    inputs = {
        spec.name: torch.from_numpy(array)
        for spec, array in zip(runner.inputs, arrays, strict=True)
    }
    return compared(stored, network, inputs)


def compared(
    stored: "Mapping[str, np.ndarray]", network: QuantizedNetwork, inputs: dict[str, torch.Tensor]
) -> dict[str, int]:
    made = {name for node in network.graph.nodes for name in node.proto.output}
    names = [name for name in stored if name in made]
    with torch.no_grad():
        values = network.values(inputs, names)
    found = {}
    for name, value in values.items():
        wanted = stored[name]
        codes = wanted.dtype.kind == "i"
        ours = (value.steps if codes and isinstance(value, QuantizedValue) else real(value)).numpy()
        found[name] = int((ours.reshape(-1) != wanted.reshape(-1)).sum())
    return found


def _sample(
    model: onnx.ModelProto, name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Numbers over the whole range of the input's codes, and beyond."""
    constants = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == name:
            scale, zero = (float(constants[n].reshape(-1)[0]) for n in node.input[1:3])
            low = -128 if constants[node.input[2]].dtype == np.int8 else 0
            first, last = (low - 8 - zero) * scale, (low + 263 - zero) * scale
            return np.asarray(rng.uniform(first, last, shape), np.float32)
    return np.asarray(rng.normal(0, 1, shape), np.float32)
