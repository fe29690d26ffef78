"""A network that quantization breaks, trained once for all tests that train it further."""

from pathlib import Path

import pytest

from tests.compiler.qat.skewed import Digits, digits, skewed_model, trained_net


@pytest.fixture(scope="session")
def handwriting(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return digits(tmp_path_factory.mktemp("handwriting"))


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, handwriting: Digits) -> tuple[bytes, float]:
    """The float model, and the percentage of test samples that it tells."""
    net = trained_net(handwriting, epochs=16)
    path = skewed_model(net, tmp_path_factory.mktemp("net") / "net.onnx")
    right = (net(handwriting.x_test).argmax(1) == handwriting.y_test).float().mean()
    return path.read_bytes(), 100 * float(right)


@pytest.fixture
def skewed(_trained: tuple[bytes, float], tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(_trained[0])
    return path


@pytest.fixture
def float_accuracy(_trained: tuple[bytes, float]) -> float:
    return _trained[1]
