"""A network that quantization breaks, trained once for all tests that train it further."""

from pathlib import Path

import pytest

from tests.compiler.qat.skewed import Stripes, skewed_model, striped, trained_net


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Stripes:
    return striped(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, pictures: Stripes) -> tuple[bytes, float]:
    """The float model, and the percentage of test samples that it tells."""
    net = trained_net(pictures, epochs=4)
    path = skewed_model(net, tmp_path_factory.mktemp("net") / "net.onnx")
    right = (net(pictures.x_test).argmax(1) == pictures.y_test).float().mean()
    return path.read_bytes(), 100 * float(right)


@pytest.fixture
def skewed(_trained: tuple[bytes, float], tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(_trained[0])
    return path


@pytest.fixture
def float_accuracy(_trained: tuple[bytes, float]) -> float:
    return _trained[1]
