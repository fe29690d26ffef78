"""A function of floats joins the kernel that makes its argument."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.ir.codes import FloatFinish
from edgekiln.compiler.ir.linear import Conv2d, Dense
from tests.compiler import float_models
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    only,
)


@pytest.mark.parametrize(
    "body",
    [
        "g = Sigmoid (c)\n y = Mul (c, g)",
        "y = HardSwish (c)",
        "y = Gelu (c)",
        "q = Div (c, two)\n e = Erf (q)\n a = Add (e, one)\n m = Mul (c, a)\n y = Mul (m, half)",
    ],
)
def test_a_function_of_one_value_joins_the_convolution(tmp_path: Path, body: str) -> None:
    constants = {"two": 2.0, "one": 1.0, "half": 0.5}
    model = float_models.make(
        f"c = Conv (x, w)\n {body}\n",
        {"w": (8, 3, 1, 1)},
        y="N, 8, 32, 32",
        constants={name: np.array(value, np.float32) for name, value in constants.items()},
    )
    graph = before("fuse_function", float_models.write(model, tmp_path / "m.onnx"))
    assert_changes_once("fuse_function", graph)
    assert kinds(graph) == ["conv2d"]
    finish = only(graph, Conv2d).finish
    assert isinstance(finish, FloatFinish)
    assert finish.function


def test_a_bias_joins_its_product_and_a_factor_comes_before_the_moves(tmp_path: Path) -> None:
    model = float_models.make(
        "m = MatMul (x, w)\n a = Add (b, m)\n r = Reshape (a, shape)\n"
        "t = Transpose <perm = [0, 2, 1, 3]> (r)\n y = Mul (t, half)\n",
        {"w": (6, 8), "b": (8,)},
        x="1, 5, 6",
        y="1, 2, 5, 4",
        constants={"shape": np.array([1, 5, 2, 4]), "half": np.array(0.5, np.float32)},
    )
    graph = before("fuse_function", float_models.write(model, tmp_path / "m.onnx"))
    assert_changes_once("fuse_function", graph)
    assert kinds(graph) == ["dense", "reshape", "transpose"]
    assert "Mul(v0, 0.5)" in str(only(graph, Dense).finish)
    assert only(graph, Dense).bias.any()
    assert graph.nodes[0].name == "a:function"  # not ONNX's value: nothing is compared with it
    assert graph.outputs == ["y"]


@pytest.mark.parametrize(
    "body", ["y = Sigmoid (x)", "p = MaxPool <kernel_shape = [1, 1]> (x)\n y = Sigmoid (p)"]
)
def test_a_function_of_an_input_or_a_pool_stays(tmp_path: Path, body: str) -> None:
    model = float_models.make(f"{body}\n", {}, y="N, 3, 32, 32")
    path = float_models.write(model, tmp_path / "m.onnx")
    assert_leaves_alone("fuse_function", before("fuse_function", path))


def test_a_value_that_others_use_too_is_stored_as_it_is(tmp_path: Path) -> None:
    model = float_models.make(
        "c = Conv (x, w)\n s = Sigmoid (c)\n p = MaxPool <kernel_shape = [1, 1]> (c)\n"
        "y = Add (s, p)\n",
        {"w": (3, 3, 1, 1)},
        y="N, 3, 32, 32",
    )
    path = float_models.write(model, tmp_path / "m.onnx")
    assert_leaves_alone("fuse_function", before("fuse_function", path))


def test_a_function_comes_before_the_blocks_of_pixels(tmp_path: Path) -> None:
    model = float_models.make(
        "c = Conv (x, w)\n d = DepthToSpace <blocksize = 2> (c)\n y = Sigmoid (d)\n",
        {"w": (8, 3, 1, 1)},
        y="N, 2, 64, 64",
    )
    graph = before("fuse_function", float_models.write(model, tmp_path / "m.onnx"))
    assert_changes_once("fuse_function", graph)
    assert kinds(graph) == ["conv2d", "depth_to_space"]
