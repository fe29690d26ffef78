"""LSTM and GRU under training: the codes of the program, and what is learned of them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.qat.network import QuantizedNetwork
from edgekiln.compiler.qat.write import to_model
from edgekiln.runtime import host
from edgekiln.targets import profile
from tests.compiler.qat.programs import TARGET, differing
from tests.compiler.recurrent_models import int8_layer

pytestmark = pytest.mark.skipif(
    not set(profile.load(TARGET).features) <= host.cpu_flags(), reason=f"no {TARGET}"
)
KINDS = pytest.mark.parametrize(
    ("op", "direction", "words"),
    [
        ("LSTM", "bidirectional", ""),
        ("GRU", "forward", ""),
        ("GRU", "reverse", ", linear_before_reset = 1"),
    ],
)


@KINDS
def test_a_layer_has_the_codes_of_the_program_trained_or_not(
    tmp_path: Path, op: str, direction: str, words: str
) -> None:
    path = int8_layer(tmp_path, op, direction, words)
    network = QuantizedNetwork(io.load_model(path))
    found = differing(path, network)
    assert sum("states" in name for name in found) >= 1
    assert {name: count for name, count in found.items() if count} == {}
    with torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    trained = tmp_path / "trained.onnx"
    onnx.save(to_model(network), trained)
    onnx.checker.check_model(io.load_model(trained))
    assert not any(differing(trained, network).values())
    # And so has a network made of that file, which knows nothing of the training.
    assert not any(differing(trained, QuantizedNetwork(io.load_model(trained))).values())
    before, after = (_stored(io.load_model(file)) for file in (path, trained))
    changed = {name.rpartition(".")[2] for name in before if (before[name] != after[name]).any()}
    assert changed >= {"inputs", "x_factors", "x_bias", "weights", "factors", "inverse"}


@KINDS
def test_an_untrained_layer_is_written_as_it_was_read(
    tmp_path: Path, op: str, direction: str, words: str
) -> None:
    model = io.load_model(int8_layer(tmp_path, op, direction, words))
    written = to_model(QuantizedNetwork(model))
    before, after = _stored(model), _stored(written)
    assert [name for name in before if (before[name] != after[name]).any()] == []
    assert list(model.graph.node) == list(written.graph.node)


@KINDS
def test_every_number_of_a_layer_gets_a_gradient(
    tmp_path: Path, op: str, direction: str, words: str
) -> None:
    network = QuantizedNetwork(io.load_model(int8_layer(tmp_path, op, direction, words)))
    (x,) = (torch.from_numpy(np.random.default_rng(0).normal(size=(1, 11, 5)).astype("f4")),)
    sum((y * y).sum() for y in network(x).values()).backward()
    still = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert still == []


def test_samples_are_computed_each_for_itself(tmp_path: Path) -> None:
    network = QuantizedNetwork(io.load_model(int8_layer(tmp_path, "GRU", "forward")))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 11, 5)).astype("f4"))
    with torch.no_grad():
        together = network(x)["last"]
        alone = [network(x[i : i + 1])["last"] for i in range(3)]
    np.testing.assert_array_equal(together, torch.cat(alone))
    assert len(torch.unique(together, dim=0)) == 3


@pytest.mark.parametrize("bits", [7, 5])
def test_weights_of_the_data_keep_to_their_bits_and_those_of_the_state_have_eight(
    tmp_path: Path, bits: int
) -> None:
    model = io.load_model(int8_layer(tmp_path, "GRU", "forward"))
    network = QuantizedNetwork(model, weight_bits=bits)
    with torch.no_grad():
        for parameter in network.weights.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
    largest = {
        name.rpartition(".")[2]: int(np.abs(array.astype(int)).max())
        for name, array in _stored(to_model(network)).items()
        if name.endswith((".inputs", ".weights"))
    }
    assert largest == {"inputs": (1 << bits - 1) - 1, "weights": 127}


def _stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
