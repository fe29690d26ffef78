"""The rows of operators without a rule of our own: fallbacks, shape arithmetic, what is refused."""

from edgekiln.compiler.onnx_model.detection_functions import DOMAIN as DETECTION
from edgekiln.compiler.onnx_model.dynamic_forms import MICROSOFT
from edgekiln.compiler.onnx_model.ends.functions import DOMAIN as ENDS
from edgekiln.compiler.onnx_model.operator_row import FALLBACK, WINDOW, Operator
from edgekiln.compiler.onnx_model.recurrent_functions import CODED as CODED_STEPS
from edgekiln.compiler.onnx_model.recurrent_functions import DOMAIN as RECURRENT
from edgekiln.compiler.onnx_model.recurrent_functions import FLOAT as FLOAT_STEPS
from edgekiln.compiler.onnx_model.tflite.functions import DOMAIN

_INSIDE = "an index outside takes the nearest value inside; a constant one is refused"
_LIMITS = {
    **dict.fromkeys(
        ("GatherElements", "GatherND", "MaxRoiPool", "MaxUnpool", "RoiAlign", "Scatter",
         "ScatterElements", "ScatterND"),
        _INSIDE,
    ),
    **dict.fromkeys(
        ("And", "Cast", "Equal", "Greater", "GreaterOrEqual", "IsNaN", "Less", "LessOrEqual",
         "Not", "Or", "Xor"),
        ("of one value and numbers, where floats are made of it: a step of a function; "
         "kernels take float32, int32, int64 and bool, other types are Relax's"),
    ),
    "Einsum": "of floats of known shapes MatMul and Mul; a diagonal by Relax",
    "Mod": "of integers by zero: 0",
    "OneHot": "of a depth that is constant; of constant values, too, it has a kernel",
}  # fmt: skip

_ELEMENTS = (
    "And", "Cast", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor",
)  # fmt: skip
_FORMS = {"ReduceProd": "reduce", **{name: name.lower() for name in _ELEMENTS}}

# What Relax lowers in float, but for some that have kernels: the name, then the attributes that
# TVM's importer or a rule reads.
_FALLBACK = tuple(
    Operator(
        name=name, role="float", float_form=_FORMS.get(name, FALLBACK),
        attributes=tuple(attributes.split()),
        heavy=name == "Einsum", limits=_LIMITS.get(name, ""),
    )
    for name, _, attributes in (line.strip().partition(" ") for line in """\
        AffineGrid align_corners
        And
        BitShift direction
        BitwiseAnd
        BitwiseNot
        BitwiseOr
        BitwiseXor
        Cast to
        CastLike
        Einsum equation
        Equal
        GatherElements axis
        GatherND batch_dims
        Greater
        GreaterOrEqual
        GridSample align_corners mode padding_mode
        Hardmax axis
        IsInf detect_negative detect_positive
        IsNaN
        Less
        LessOrEqual
        LpPool auto_pad ceil_mode dilations kernel_shape p pads strides
        MaxRoiPool pooled_shape spatial_scale
        MaxUnpool kernel_shape pads strides
        Mod fmod
        Not
        OneHot axis
        Or
        ReduceProd axes keepdims noop_with_empty_axes
        RoiAlign coordinate_transformation_mode output_height output_width sampling_ratio \
            spatial_scale
        Scatter axis
        ScatterElements axis reduction
        ScatterND reduction
        Xor
    """.strip().splitlines())
)  # fmt: skip

# Of functions that have none here, and gates that are each other's complements.
_PARAMETERS = ("activation_alpha", "activation_beta", "input_forget")

# What they are made of has kernels of ours or of Relax's.
_DEFINED = tuple(
    Operator(
        name=name, role="defined", domain=domain, limits=limits,
        heavy=name in ("Attention", "FlexAttention", "GRU", "LSTM", "LinearAttention", "RNN"),
        defaults_only=_PARAMETERS if name in ("GRU", "LSTM", "RNN") else (),
    )
    for limits, domain, listed in (
        ("as far as ONNX's specification defines it in the model's opset", "",
         ("Attention BlackmanWindow CausalConvWithState CenterCropPad GroupNormalization "
         "HammingWindow HannWindow LinearAttention MeanVarianceNormalization "
         "NegativeLogLikelihoodLoss RMSNormalization RotaryEmbedding SoftmaxCrossEntropyLoss "
         "SwiGLU")),
        ("as far as ONNX's specification defines it in the model's opset", "ai.onnx.preview",
         "FlexAttention"),
        ("its control flow must not depend on data, and it becomes at most 4096 operators", "",
         "If Loop Scan"),
        ("whole sequences and a fixed batch, with Sigmoid, Tanh and Relu; in float up to 512 steps",
         "", "GRU LSTM RNN"),
        ("of floats", "", "LpNormalization"),
        (("of up to 4096 values, with lengths that are constant; the first half of a spectrum of "
          "64 real values and more, by factors of 2, 3 and 5, is a fast transform"), "",
         "DFT STFT"),
        ("of extents that are constant", "", "Col2Im"),
        ("of up to 512 values along an axis that is constant", "", "CumProd"),
        (("its limits and the extents of its scores must be constants; it gives all rows that "
          "there could be, those behind its boxes hold -1, and what reads it goes row by row"),
         "", "NonMaxSuppression"),
        ("as ONNX Runtime's optimizer writes it at ORT_ENABLE_EXTENDED", MICROSOFT,
         ("BiasGelu FastGelu FusedConv FusedGemm FusedMatMul Gelu LayerNormalization QuickGelu "
          "SimplifiedLayerNormalization SkipLayerNormalization "
          "SkipSimplifiedLayerNormalization")),
    )
    for name in listed.split()
)  # fmt: skip

_FOLDED = tuple(
    Operator(name=name, role="folded", float_form=form, attributes=tuple(attributes.split()))
    for name, form, attributes in (
        ("Constant", "", "value value_float value_floats value_int value_ints"),
        ("ConstantOfShape", FALLBACK, "value"),
        ("EyeLike", FALLBACK, "dtype k"),
        ("Range", FALLBACK, ""),
        ("Shape", FALLBACK, "start end"),
        ("Size", FALLBACK, ""),
    )
)

# Domain and operator: those of a model that is quantized already.
_INTEGER = (
    Operator(name="QuantizeLinear", role="integer", float_form=FALLBACK, integer="quantize",
        attributes=("axis",), limits="to 8 bits, one scale a tensor"),
    Operator(name="DequantizeLinear", role="integer", float_form=FALLBACK, integer="dequantize",
        attributes=("axis",),
        limits="of 8 bits one scale a tensor, of constants one a channel or a block"),
    Operator(name="DynamicQuantizeLinear", role="integer", integer="dynamic_quantize",
        limits="as ONNX Runtime: the scale of zeros is 1; NaN has no part in the range"),
    Operator(name="MatMulInteger", role="integer", integer="matmul_integer", float_form=FALLBACK,
        heavy=True, limits="other zero points than one, or one a column of the right operand, "
        "by Relax"),
    Operator(name="ConvInteger", role="integer", integer="conv_integer",
        attributes=(*WINDOW, "group"), heavy=True, limits="1-D and 2-D with constant weights and "
        "their zero points; others become a Conv of float64"),
    *(
        Operator(name=name, role="integer", domain=MICROSOFT, heavy=True,
            limits="becomes MatMulInteger and operators on floats; of operator set 11 and newer")
        for name in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat")
    ),
    Operator(name="MatMulNBits", role="integer", domain=MICROSOFT, heavy=True,
        limits="becomes MatMul of floats, whose weights may lie in four bits; of constant codes of "
        "2, 4 or 8 bits, without an order of their own"),
    Operator(name="DynamicQuantizeLSTM", role="refused", domain=MICROSOFT,
        limits="keep LSTM out of quantize_dynamic: op_types_to_quantize=['MatMul', 'Conv']"),
    *(
        Operator(name=name, role="integer", domain=domain,
            limits="becomes DequantizeLinear, the operator on real numbers, QuantizeLinear")
        for domain, listed in (
            ("", "QLinearConv QLinearMatMul"),
            (MICROSOFT, ("QGemm QLinearAdd QLinearAveragePool QLinearConcat "
                "QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearSigmoid "
                "QLinearSoftmax")),
        )
        for name in listed.split()
    ),
    *(
        Operator(name=name, role="integer", domain=DOMAIN, integer=f"tflite_{rule}",
            heavy=name in ("Conv", "Dense"), limits="of a .tflite file: TFLite's own arithmetic")
        for name, rule in (
            ("Add", "add"), ("AveragePool", "average_pool"),
            ("AveragePoolUp", "average_pool_up"), ("Conv", "conv"), ("Dense", "dense"),
            ("Lookup", "lookup"), ("Mean", "mean"), ("Mul", "mul"), ("PRelu", "prelu"),
            ("Quantize", "quantize"), ("Softmax", "softmax"), ("Sub", "sub"),
        )
    ),
)  # fmt: skip

# Of LSTM and GRU in an int8 model: what `quantize` writes.
_RECURRENT = (
    *(
        Operator(name=name, role="quantized", domain=RECURRENT, integer="recurrent", heavy=True,
            attributes=("directions", "parted", "shape", "square", "state", "states"),
            limits="of LSTM and GRU, by `edgekiln quantize`; left in float up to 512 steps")
        for name in FLOAT_STEPS
    ),
    *(
        Operator(name=name, role="integer", domain=RECURRENT, integer="recurrent", heavy=True,
            attributes=("directions", "parted", "shape", "square", "state", "states", "x_scale",
                "y_scale"),
            limits="of LSTM and GRU, by `edgekiln quantize`")
        for name in CODED_STEPS.values()
    ),
)  # fmt: skip

# Of what `attach` puts before a network: the same kernels in every program.
_ENDS = tuple(
    Operator(name=name, role="enclosed", domain=ENDS, integer=rule, float_form=rule,
        limits="of bytes, by `edgekiln attach`")
    for name, rule in (
        ("ResampleColumns", "resample"), ("ResampleRows", "resample"), ("YuvToGray", "yuv"),
        ("YuvToRgb", "yuv"),
    )
)  # fmt: skip

# Of what `attach` puts behind a network that gives sequences.
_SEQUENCES = tuple(
    Operator(name=name, role="enclosed", domain=ENDS, integer=rule, float_form=rule,
        attributes=tuple(attributes.split()), limits="by `edgekiln attach`")
    for name, rule, attributes in (
        ("CountedSymbols", "count_symbols", ""), ("CtcCollapse", "ctc_collapse", "blank"),
    )
)  # fmt: skip

_DECISIONS = (
    Operator(name="Hysteresis", role="float", domain=ENDS, float_form="hysteresis",
        limits="by `edgekiln attach`"),
)  # fmt: skip

# Of columns of tables, before a network that looks their indices up.
_COLUMNS = tuple(
    Operator(name=name, role="enclosed", domain=ENDS, integer=rule, float_form=rule,
        attributes=("to",), limits="by `edgekiln attach`")
    for name, rule in (("Bucket", "bucket"), ("HashIndex", "hash_index"))
)  # fmt: skip

# The same, of text, which ONNX's operators cannot take apart.
_TEXT = tuple(
    Operator(name=name, role="enclosed", domain=ENDS, integer=rule, float_form=rule,
        attributes=("length", "to"),
        limits="of text in UTF-8, by `edgekiln attach`; not for GPUs")
    for name, rule in (("BytePair", "bpe"), ("WordPiece", "wordpiece"))
)  # fmt: skip

# Of detectors: what NonMaxSuppression becomes, and what `attach` puts behind a network.
_DETECTION = tuple(
    Operator(name=name, role="float", domain=DETECTION, float_form=rule,
        attributes=tuple(attributes.split()), limits=limits)
    for name, rule, attributes, limits in (
        ("CountedDetections", "count_rows", "", "by `edgekiln attach`"),
        ("CountedRows", "count_rows", "", "of NonMaxSuppression"),
        ("DetectionsByClass", "detections", "most per_class", "by `edgekiln attach`"),
        ("DetectionsTogether", "detections", "most per_class", "by `edgekiln attach`"),
        ("FilledRows", "fill_rows", "axis", "of NonMaxSuppression"),
        ("FixedSuppression", "suppression", "center_point_box", "of NonMaxSuppression"),
    )
)  # fmt: skip

_REFUSED = tuple(
    Operator(
        name=name, role="refused", limits=limits,
    )
    for limits, listed in (
        ("its control flow or the shape of its result depends on data",
         "SequenceMap NonZero Unique Compress StringSplit"),
        ("its result is random",
         "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike"),
        ("sequences, optional values and text are no tensors of numbers",
         ("ConcatFromSequence ImageDecoder Optional OptionalGetElement OptionalHasElement "
         "RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert "
         "SequenceLength SplitToSequence StringConcat StringNormalizer TfIdfVectorizer")),
        ("it has no kernel",
         "BitCast DeformConv Det MelWeightMatrix ReverseSequence TensorScatter"),
    )
    for name in listed.split()
)  # fmt: skip

_SELECTING = (
    *(
        Operator(name=name, role="enclosed", integer="arg_max", float_form="arg_max",
            attributes=("axis", "keepdims", "select_last_index"),
            limits="the first of equal values; the last one, and integers, by Relax")
        for name in ("ArgMax", "ArgMin")
    ),
    Operator(name="TopK", role="enclosed", integer="top_k", float_form="top_k",
        attributes=("axis", "k", "largest", "sorted"), limits="as many as a constant says; of "
        "integers up to 4096 values"),
)  # fmt: skip

OTHERS = (
    *_FALLBACK,
    *_SELECTING,
    *_DEFINED,
    *_FOLDED,
    *_INTEGER,
    *_RECURRENT,
    *_ENDS,
    *_SEQUENCES,
    *_DECISIONS,
    *_COLUMNS,
    *_TEXT,
    *_DETECTION,
    *_REFUSED,
)
