"""The part of TFLite's schema that is read: tables and their fields, as data.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, schema version 3, LiteRT 2.3.
"""

from collections.abc import Mapping

from edgekiln.compiler.onnx_model.tflite.wire import Field, Fields

IDENTIFIER = b"TFL3"
VERSION = 3


def _fields(text: str) -> Fields:
    """ "name:kind" or "name:kind=default" in the order of their slots; "-" for one not read."""
    found = {}
    for slot, word in enumerate(text.split()):
        if word != "-":
            name, _, rest = word.partition(":")
            kind, _, default = rest.partition("=")
            found[name] = Field(slot=slot, kind=kind, default=float(default or 0))
    return found


MODEL = _fields(
    "version:u32 operator_codes:[table] subgraphs:[table] description:text buffers:[table] - - "
    "signatures:[table]"
)
SIGNATURE = _fields("- - key:text - graph:u32")
OPERATOR_CODE = _fields("deprecated_code:i8 custom:text version:i32=1 code:i32")
SUBGRAPH = _fields("tensors:[table] inputs:[i32] outputs:[i32] operators:[table] name:text")
TENSOR = _fields(
    "shape:[i32] type:i8 buffer:u32 name:text quantization:table variable:bool sparsity:table "
    "signature:[i32]"
)
QUANTIZATION = _fields("- - scale:[f32] zero_point:[i64] details_type:u8 - axis:i32")
BUFFER = _fields("data:[u8] offset:u64 size:u64")
OPERATOR = _fields(
    "code:u32 inputs:[i32] outputs:[i32] options_type:u8 options:table - - - intermediates:[i32] "
    "- - options2_type:u8 options2:table"
)

# By the numbers of `schema.fbs`.
TYPES = (
    "float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 "
    "resource variant uint32 uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2"
).split()
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
PADDINGS = ("SAME", "VALID")

_ACTIVATION, _STRIDES = "activation:i8", "padding:i8 stride_w:i32 stride_h:i32"
_MASKS = [f"{what}_mask:i32" for what in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")]
# The options of an operator: the number of their type in the union, and their fields.
OPTIONS: Mapping[str, tuple[int, Fields]] = {
    name: (number, _fields(text))
    for name, number, text in (
        ("Conv2D", 1, f"{_STRIDES} {_ACTIVATION} dilation_w:i32=1 dilation_h:i32=1"),
        ("DepthwiseConv2D", 2,
            f"{_STRIDES} multiplier:i32 {_ACTIVATION} dilation_w:i32=1 dilation_h:i32=1"),
        ("Pool2D", 5, f"{_STRIDES} filter_w:i32 filter_h:i32 {_ACTIVATION}"),
        ("FullyConnected", 8, f"{_ACTIVATION} weights_format:i8 keep_dims:bool"),
        ("Softmax", 9, "beta:f32"),
        ("Concatenation", 10, f"axis:i32 {_ACTIVATION}"),
        ("Add", 11, f"{_ACTIVATION}"),
        ("ResizeBilinear", 15, "- - align_corners:bool half_pixel_centers:bool"),
        ("Reshape", 17, "new_shape:[i32]"),
        ("SpaceToDepth", 19, "block:i32"),
        ("Mul", 21, f"{_ACTIVATION}"),
        ("Reducer", 27, "keep_dims:bool"),
        ("Sub", 28, f"{_ACTIVATION}"),
        ("Squeeze", 30, "axes:[i32]"),
        ("StridedSlice", 32, " ".join(_MASKS) + " offset:bool"),
        ("Split", 35, "splits:i32"),
        ("TransposeConv", 49, f"{_STRIDES} {_ACTIVATION}"),
        ("ResizeNearestNeighbor", 74, "align_corners:bool half_pixel_centers:bool"),
        ("LeakyRelu", 75, "alpha:f32"),
        ("SplitV", 79, "splits:i32"),
        ("If", 92, "then_graph:i32 else_graph:i32"),
        ("While", 93, "condition_graph:i32 body_graph:i32"),
        ("DepthToSpace", 94, "block:i32"),
        ("BatchMatMul", 101, "adj_x:bool adj_y:bool"),
        ("CallOnce", 103, "graph:i32"),
        ("VarHandle", 111, "container:text shared_name:text"),
    )
}  # fmt: skip
