"""The operator table: one row an ONNX operator.

`operators` answers questions about it; docs/operators.md is printed from it.
"""

from edgekiln.compiler.onnx_model.operator_others import OTHERS
from edgekiln.compiler.onnx_model.operator_row import (
    FALLBACK,
    MAX_SOFTMAX_ROW,
    WINDOW,
    Operator,
    WeightOperand,
)

_IMAGES = "2-D images only in integers"
_ONE_ROW = "of sequences: a pool of images with one row"
_ONE_IMAGE = "over other axes: over those of an image with the same values"
_AXES = "axes keepdims noop_with_empty_axes"
_BEHIND_THE_BATCH = "over the batch they stay float"
_SPREAD = "operands broadcast in another way become constants of the result's shape, or an Expand"
_AS_OF_ADD = "operands as of Add"
_PAIRS = f"of three operands and more: two at a time; {_AS_OF_ADD}"

_PRODUCTS = (
    Operator(
        name="Conv", role="quantized", data="all", weights=WeightOperand(axis=0), integer="conv",
        float_form="conv", attributes=(*WINDOW, "group"), ranks=(3, 4), constants=(1, 2),
        heavy=True, limits="1-D and 2-D with constant weights and bias",
    ),
    Operator(
        name="ConvTranspose", role="float", data="all", weights=WeightOperand(axis=1),
        float_form=FALLBACK, attributes=(*WINDOW, "group", "output_padding"), heavy=True,
        rewritten="Conv whose channels are the pixels of a block (Reshape, Transpose, Slice)",
        limits="1-D and 2-D with constant weights are rewritten; others stay float",
    ),
    Operator(
        name="Gemm", role="quantized", data="all",
        weights=WeightOperand(axis=1, transposed_by="transB"),
        integer="gemm", float_form="gemm", attributes=("alpha", "beta", "transA", "transB"),
        constants=(1, 2), values={"alpha": (1.0,), "beta": (1.0,), "transA": (0,)}, heavy=True,
        rewritten="alpha and beta go into the constants, transA becomes a Transpose; without "
        "constant weights a MatMul, with a bias that is no vector an Add",
    ),
    Operator(
        name="MatMul", role="quantized", data="all", weights=WeightOperand(axis=1, bias=False),
        integer="matmul", float_form="matmul", heavy=True,
        rewritten="with an Add of a constant vector behind it: Gemm",
        limits="a constant matrix on the right, or two operands of one rank",
    ),
)  # fmt: skip

_ELEMENTWISE = (
    Operator(
        name="Add", role="quantized", data="all", integer="add", float_form="add", lookup=True,
        rewritten=_SPREAD, limits="operands of one shape; one may be a number or one value a "
        "channel",
    ),
    Operator(
        name="Mul", role="quantized", data="all", integer="mul", float_form="mul", lookup=True,
        rewritten=_SPREAD, limits="operands of one shape; one may be a number or one value a "
        "channel",
    ),
    Operator(
        name="Sub", role="quantized", data="all", integer="lookup", float_form="function",
        lookup=True, rewritten="Add and Neg, but for one activation and a number",
        limits="one activation and a number",
    ),
    Operator(
        name="Relu", role="quantized", integer="clip", float_form="clip", lookup=True, tail=True,
        homogeneous=True,
    ),
    Operator(
        name="Clip", role="quantized", integer="clip", float_form="clip", lookup=True, tail=True,
        attributes=("min", "max"), constants=(1, 2), limits="constant bounds around 0",
    ),
    Operator(
        name="Swish", role="float", float_form="function", rewritten="Mul and Sigmoid",
        attributes=("alpha",),
    ),
)  # fmt: skip

# One activation in, one out, no shape: whether it is quantized, name, attributes.
_UNARY = tuple(
    Operator(
        name=name, role="quantized" if quantized else "enclosed", integer="lookup",
        float_form="function", lookup=True, attributes=tuple(attributes.split()),
        tail=name in ("Sigmoid", "Tanh"),
    )
    for quantized, entries in (
        (True, ("Abs", "Elu alpha", "Erf", "Exp", "Gelu approximate", "HardSigmoid alpha beta",
            "HardSwish", "LeakyRelu alpha", "Mish", "Neg", "Selu alpha gamma", "Sigmoid",
            "Softplus", "Softsign", "Sqrt", "Tanh")),
        (False, ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu alpha", "Cos",
            "Cosh", "Floor", "Log", "Reciprocal", "Round", "Shrink bias lambd", "Sign", "Sin",
            "Sinh", "Tan", "ThresholdedRelu alpha")),
    )
    for name, _, attributes in (entry.partition(" ") for entry in entries)
)  # fmt: skip

# Two operands; of one activation and a number a table.
_OF_TWO = (
    *(
        Operator(
            name=name, role="quantized", data="all", integer=name.lower(), float_form=form,
            lookup=True, rewritten=rewritten,
            limits="operands of one shape; the second may be a number or one value a channel"
            + (
                "; of int types by zero: the dividend"
                if name == "Div"
                else ""
            ),
        )
        for name, form, rewritten in (
            ("Div", "function", f"by constants: Mul by their reciprocals; {_AS_OF_ADD}"),
            ("Max", "max", _PAIRS), ("Min", "min", _PAIRS), ("PRelu", "prelu", _AS_OF_ADD),
        )
    ),
    Operator(
        name="Pow", role="enclosed", data="all", integer="lookup", float_form="function",
        lookup=True, limits="one activation and a number; in floats of two activations by Relax",
    ),
)  # fmt: skip

_POOLS = (
    Operator(
        name="AveragePool", role="pass-through", integer="average_pool", float_form="average_pool",
        attributes=(*WINDOW, "ceil_mode", "count_include_pad"), ranks=(4,),
        values={"dilations": (None, [1, 1])}, homogeneous=True, rewritten=_ONE_ROW,
        limits=_IMAGES + ", not dilated",
    ),
    Operator(
        name="GlobalAveragePool", role="quantized", integer="global_average_pool",
        float_form="global_average_pool", ranks=(4,), homogeneous=True, rewritten=_ONE_IMAGE,
        limits=_IMAGES,
    ),
    Operator(
        name="GlobalMaxPool", role="enclosed", integer="global_max_pool",
        float_form="global_max_pool", ranks=(4,), rewritten=_ONE_IMAGE, limits=_IMAGES,
    ),
    Operator(
        name="MaxPool", role="pass-through", integer="max_pool", float_form="max_pool",
        attributes=(*WINDOW, "ceil_mode"), ranks=(4,), homogeneous=True, rewritten=_ONE_ROW,
        limits=_IMAGES + ", without the indices",
    ),
    Operator(
        name="ReduceMean", role="quantized", integer="reduce_mean", float_form="reduce_mean",
        attributes=("axes", "keepdims", "noop_with_empty_axes"),
        rewritten="over height and width: GlobalAveragePool and Flatten; over channels: Conv; over "
        "other axes than the batch: MatMul",
        limits="over the tokens of (N, T, C) or the image of (N, C, H, W) in integers",
    ),
)  # fmt: skip

_MOVES = (
    *(
        Operator(
            name=name, role="pass-through", integer="reshape", float_form="reshape",
            attributes=tuple(attributes.split()), tail=name != "Unsqueeze",
        )
        for name, attributes in (
            ("Flatten", "axis"), ("Reshape", "allowzero"), ("Squeeze", "axes"),
            ("Unsqueeze", "axes"),
        )
    ),
    Operator(
        name="Transpose", role="pass-through", integer="transpose", float_form="transpose",
        attributes=("perm",), tail=True,
    ),
    Operator(name="Identity", role="enclosed", integer="reshape", float_form="reshape"),
    Operator(
        name="Dropout", role="enclosed", integer="reshape", float_form="reshape",
        attributes=("ratio", "seed", "is_test"), unread_operands=(2,),
        limits="as in inference: the values as they are",
    ),
    Operator(
        name="Concat", role="quantized", data="all", integer="concat", float_form="concat",
        attributes=("axis",),
    ),
    Operator(
        name="Gather", role="pass-through", integer="gather", float_form="gather",
        attributes=("axis",), limits="constant indices, or int32 and int64 indices of the "
        "call, in integers; an index outside takes the nearest row, a constant one is refused",
    ),
    Operator(
        name="Pad", role="quantized", integer="pad", float_form="pad", constants=(1, 2),
        attributes=("mode", "pads", "value"), values={"mode": (None, "constant")},
        limits="with constants, amounts of 0 and more, in integers",
        rewritten="with a value below all others in front of a MaxPool: its pads; reflect, edge "
        "and wrap: Gather; negative amounts: Slice",
    ),
    Operator(
        name="Resize", role="pass-through", integer="resize", float_form="resize",
        attributes=("antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a",
            "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy", "mode",
            "nearest_mode"),
        values={"antialias": (None,), "axes": (None,), "keep_aspect_ratio_policy": (None,),
            "mode": (None, "nearest")},
        rewritten="but for nearest to whole multiples: a MatMul an axis, or of nearest a Gather",
        limits="of sizes that are constant; antialiasing, kept aspect ratios and factors that cut "
        "a pixel become a MatMul an axis in floats, too",
    ),
    Operator(
        name="Upsample", role="pass-through", integer="resize", float_form="resize",
        attributes=("mode", "scales"), values={"mode": (None, "nearest")},
        rewritten="as Resize", limits="as Resize",
    ),
    *(
        Operator(
            name=name, role="pass-through", integer=rule, float_form=rule, ranks=(4,), tail=True,
            attributes=("blocksize", "mode"),
        )
        for name, rule in (("DepthToSpace", "depth_to_space"), ("SpaceToDepth", "space_to_depth"))
    ),
    *(
        Operator(
            name=name, role="pass-through", integer=name.lower(), float_form=name.lower(),
        )
        for name in ("Expand", "Tile")
    ),
    Operator(
        name="Slice", role="pass-through", integer="slice", float_form="slice",
        constants=(1, 2, 3, 4), rewritten="steps backwards: Gather",
        limits="constant bounds and steps above 0 in integers",
    ),
    Operator(
        name="Split", role="pass-through", integer="split", float_form="split",
        attributes=("axis", "split", "num_outputs"),
    ),
)  # fmt: skip

# Those of floats that have a kernel.
_FORMS = {
    **{f"Reduce{name}": "reduce" for name in ("L1", "L2", "LogSum", "Max", "Min", "Sum",
        "SumSquare")},
    "Where": "where",
}  # fmt: skip
_REWRITTEN = tuple(
    Operator(
        name=name, role="float", attributes=tuple(attributes.split()), rewritten=rewritten,
        float_form=_FORMS.get(name, FALLBACK), limits=limits,
    )
    for name, attributes, rewritten, limits in (
        ("CumSum", "exclusive reverse", "MatMul with a triangle of ones",
         "of up to 1024 values behind the batch; others stay float"),
        ("GlobalLpPool", "p", "ReduceL1 or ReduceL2", "with p of 1 or 2; others stay float"),
        ("InstanceNormalization", "epsilon",
         "LayerNormalization of rows, and a depthwise Conv with the slopes and offsets",
         "with constant slopes and offsets, of operator set 17 and newer in floats, too"),
        ("LRN", "alpha beta bias size", "Conv of the squares over the channels, Pow, Mul",
         "of images of up to 1024 channels; others stay float"),
        ("Mean", "", "Adds, two operands at a time, and a Mul", ""),
        ("ReduceL1", _AXES, "Abs and ReduceSum", _BEHIND_THE_BATCH),
        ("ReduceL2", _AXES, "Mul, ReduceSum and Sqrt", _BEHIND_THE_BATCH),
        ("ReduceLogSum", _AXES, "ReduceSum and Log", _BEHIND_THE_BATCH),
        ("ReduceLogSumExp", _AXES, "max + log Σ e^(x - max), operator by operator",
         _BEHIND_THE_BATCH),
        ("ReduceMax", _AXES, "GlobalMaxPool over the axes as an image", _BEHIND_THE_BATCH),
        ("ReduceMin", _AXES, "Neg, ReduceMax, Neg", _BEHIND_THE_BATCH),
        ("ReduceSum", _AXES, "as ReduceMean", _BEHIND_THE_BATCH),
        ("ReduceSumSquare", _AXES, "Mul and ReduceSum", _BEHIND_THE_BATCH),
        ("Sum", "", "Adds, two operands at a time", ""),
        ("Trilu", "upper", "Mul by 1 and 0", ""),
        ("Where", "", "Mul by 1 and 0, and Add",
         ("with a constant condition, and constants to fill with of up to 1000; others stay float; "
          "of one value and numbers a step of a function")),
    )
)  # fmt: skip

_ROWS_OF_VALUES = (
    Operator(
        name="Softmax", role="enclosed", integer="softmax", float_form="softmax",
        attributes=("axis",), tail=True,
        rewritten="along another axis than the last: Transpose, Softmax, Transpose",
        limits=f"along the last axis, up to {MAX_SOFTMAX_ROW} in integers",
    ),
    Operator(
        name="LayerNormalization", role="enclosed", integer="layer_norm", float_form="layer_norm",
        attributes=("axis", "epsilon"), constants=(1, 2), first_result=True,
        limits="over the last axis; with its mean or deviation by ONNX's definition",
    ),
    Operator(
        name="BatchNormalization", role="float", float_form="batch_norm",
        attributes=("epsilon", "momentum", "is_test"),
        rewritten="into the convolution or Gemm before it, else a depthwise Conv",
        limits="with constant statistics; in floats of images",
    ),
    Operator(
        name="LogSoftmax", role="float", float_form="log_softmax", attributes=("axis",), tail=True,
        limits="along the last axis; along others by Relax",
    ),
)  # fmt: skip

TABLE: tuple[Operator, ...] = (
    *_PRODUCTS, *_ELEMENTWISE, *_UNARY, *_OF_TWO, *_POOLS, *_MOVES, *_REWRITTEN, *_ROWS_OF_VALUES,
    *OTHERS,
)  # fmt: skip
