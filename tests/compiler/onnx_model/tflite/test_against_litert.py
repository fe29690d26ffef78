"""Every operator of the table computes what LiteRT's reference kernels compute, bit by bit."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.benchmarks.tflite import litert
from edgekiln.benchmarks.tflite.compare import compare
from edgekiln.benchmarks.tflite.network import network
from edgekiln.benchmarks.tflite.operators import CASES
from edgekiln.compiler.onnx_model.tflite.convert import OPERATORS

SEEDS = 4


@pytest.fixture(autouse=True)
def _needs_litert() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")


@pytest.mark.parametrize("name", CASES)
def test_an_operator_on_codes_is_litert_s(name: str) -> None:
    cases = [CASES[name](np.random.default_rng(seed)) for seed in range(SEEDS)]
    found = [compare(name, case.file, [case.inputs], compiled=False) for case in cases]
    assert [each.onnx for each in found] == [0] * SEEDS
    assert all(each.values for each in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_operator_s_program_is_litert_s(name: str) -> None:
    case = CASES[name](np.random.default_rng(5))
    assert compare(name, case.file, [case.inputs], compiled=True).program == 0


def test_a_network_s_program_is_litert_s() -> None:
    case = network(np.random.default_rng(1))
    rng = np.random.default_rng(2)
    calls = [[rng.integers(-128, 128, (1, 12, 10, 3)).astype(np.int8)] for _ in range(20)]
    found = compare("a network", case.file, calls, compiled=True)
    assert found.distinct > 10
    assert (found.onnx, found.program) == (0, 0)


def test_the_table_s_bit_equal_operators_are_all_compared() -> None:
    promised = {name for name, row in OPERATORS.items() if row.codes.startswith("bit-equal")}
    compared = {name.replace(",", " ").split()[0] for name in CASES}
    # What shares the code of one that is compared.
    alike = {"EXPAND_DIMS", "PADV2", "RELU_N1_TO_1", "SLICE", "DEQUANTIZE"}
    assert promised - compared == alike


def test_the_streaming_wake_words_are_litert_s() -> None:
    models = pytest.importorskip("pymicro_wakeword", reason="its models are not installed")
    path = Path(models.__file__).parent / "models" / "okay_nabu.tflite"
    rng = np.random.default_rng(0)
    calls = [[rng.integers(-128, 60, (1, 3, 40)).astype(np.int8)] for _ in range(40)]
    found = compare("okay_nabu", path.read_bytes(), calls, compiled=False)
    assert found.distinct > 100  # of the variables, which are compared, too
    assert found.onnx == 0


def test_litert_itself_is_deterministic() -> None:
    case = network(np.random.default_rng(3))
    first, second = (litert.outputs(case.file, case.inputs) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
