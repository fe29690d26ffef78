from edgekiln.compiler.onnx_model.cost import OnnxCosts, onnx_costs
from edgekiln.compiler.onnx_model.io import load_model
from tests.compiler.dynamic_models import IntegerModel
from tests.compiler.float_models import make, residual


def test_convolutions_and_the_head_are_counted():
    convs = 32 * 32 * 8 * (3 * 9 + 8 * 9)
    parameters = 8 * 27 + 8 + 8 * 72 + 8 + 80 + 10
    assert onnx_costs(residual()) == OnnxCosts(
        parameters=parameters, macs=convs + 80, weight_bytes=4 * parameters
    )


def test_the_batch_does_not_count():
    assert onnx_costs(residual(x="4, 3, 32, 32", y="4, 10")) == onnx_costs(residual())


def test_groups_divide_the_work():
    depthwise = make(
        "y = Conv <group = 6, kernel_shape = [3, 3], strides = [2, 2]> (x, w)",
        {"w": (6, 1, 3, 3)},
        x="N, 6, 9, 9",
        y="N, 6, 4, 4",
    )
    assert onnx_costs(depthwise).macs == 4 * 4 * 6 * 9


def test_products_of_activations_count():
    attention = make(
        "k = Transpose <perm = [0, 2, 1]> (x)\n y = MatMul (x, k)", {}, x="N, 5, 7", y="N, 5, 5"
    )
    assert onnx_costs(attention) == OnnxCosts(parameters=0, macs=5 * 5 * 7, weight_bytes=0)


def test_transposed_convolutions_count_each_input_once():
    model = make(
        "y = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> (x, w)",
        {"w": (4, 6, 2, 2)},
        x="N, 4, 5, 5",
        y="N, 6, 10, 10",
    )
    assert onnx_costs(model).macs == 5 * 5 * 4 * 6 * 4


def test_products_of_integers_count_and_their_zero_points_are_no_parameters(tmp_path):
    model = IntegerModel(0)
    x = model.operand("x", model.bytes_of((1, 5, 7), "uint8"), constant=False)
    w = model.operand("w", model.bytes_of((7, 3), "int8"), constant=True)
    zeros = model.zero("z", "int8", (3,), "constant")
    model.node("MatMulInteger", [x, w, "", *zeros])
    path = model.write(tmp_path / "m.onnx")
    assert onnx_costs(load_model(path)) == OnnxCosts(parameters=21, macs=5 * 7 * 3, weight_bytes=21)


def test_recurrent_layers_count_every_step_of_data_and_state():
    model = make(
        "t = Transpose <perm = [1, 0, 2]> (x)\n y, last = GRU <hidden_size = 7> (t, w, r)",
        {"w": (1, 21, 5), "r": (1, 21, 7)},
        x="1, 11, 5",
        y="11, 1, 1, 7",
    )
    assert onnx_costs(model).macs == 11 * 21 * (5 + 7)
