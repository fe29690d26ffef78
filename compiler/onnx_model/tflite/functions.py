"""TFLite's reference kernels as ONNX functions: what each computes, in ONNX's own operators.

A converted model has nodes of the domain `DOMAIN`, and these functions beside them, so that any
ONNX tool computes the very integers of TFLite's kernels; ONNX Runtime is the oracle as for other
models.
The compiler has kernels for the nodes and never looks inside.

Operands are tensors of codes, and constants: weights and biases; `zero…`, the zero points; factors
as `integer` and `shift` (`fixed_point.quantized_multiplier`), shaped to be broadcast; `low` and
`high`, which results are clipped to. `scale…` say what the codes stand for.
"""

DOMAIN = "edgekiln.tflite"

# Numbers below are 2³¹ and 2³⁰, a one and a half of 31 bits; 2²⁰, by which a sum's operands are
# lifted; 2²⁹, a one with two integer bits, in which 48/17 and -32/17 begin Newton's iteration.
# Softmax's bounds are 2²⁰ … 2³⁰: how many a row's sum reaches says where its highest bit is.
TEXTS = """\
DoubledHigh (a, b) => (y) {
    unit = Constant <value_int: int = 2147483648> ()
    half = Constant <value_int: int = 1073741824> ()
    product = Mul (a, b)
    nudged = Add (product, half)
    rest = Mod (nudged, unit)
    whole = Sub (nudged, rest)
    y = Div (whole, unit)
}
DividedByPower (x, exponent) => (y) {
    two = Constant <value_int: int = 2> ()
    divisor = Pow (two, exponent)
    half = Div (divisor, two)
    size = Abs (x)
    more = Add (size, half)
    quotient = Div (more, divisor)
    sign = Sign (x)
    y = Mul (sign, quotient)
}
RoundedTwice (x, integer, shift) => (y) {
    zero = Constant <value_int: int = 0> ()
    two = Constant <value_int: int = 2> ()
    wide = Cast <to: int = 7> (x)
    up = Max (shift, zero)
    lift = Pow (two, up)
    lifted = Mul (wide, lift)
    high = edgekiln.tflite.DoubledHigh (lifted, integer)
    opposite = Neg (shift)
    down = Max (opposite, zero)
    y = edgekiln.tflite.DividedByPower (high, down)
}
RoundedOnce (x, integer, shift) => (y) {
    bits = Constant <value_int: int = 31> ()
    wide = Cast <to: int = 7> (x)
    product = Mul (wide, integer)
    down = Sub (bits, shift)
    whole = edgekiln.tflite.DividedByPower (product, down)
    narrow = Cast <to: int = 6> (whole)
    y = Cast <to: int = 7> (narrow)
}
Codes (steps, zero, low, high, like) => (y) {
    whole = Add (steps, zero)
    inside = Clip (whole, low, high)
    y = CastLike (inside, like)
}
Centred (x, zero) => (y) {
    wide = Cast <to: int = 7> (x)
    y = Sub (wide, zero)
}
Conv <kernel_shape, strides, pads, dilations, group, x_scale, y_scale>
(x, weights, bias, x_zero, integer, shift, zero, low, high) => (y) {
    products = ConvInteger <kernel_shape: ints = @kernel_shape, strides: ints = @strides,
        pads: ints = @pads, dilations: ints = @dilations, group: int = @group> (x, weights, x_zero)
    sums = Add (products, bias)
    steps = edgekiln.tflite.RoundedTwice (sums, integer, shift)
    y = edgekiln.tflite.Codes (steps, zero, low, high, x)
}
Dense <x_scale, y_scale> (x, weights, bias, x_zero, integer, shift, zero, low, high) => (y) {
    products = MatMulInteger (x, weights, x_zero)
    sums = Add (products, bias)
    steps = edgekiln.tflite.RoundedOnce (sums, integer, shift)
    y = edgekiln.tflite.Codes (steps, zero, low, high, x)
}
Scaled <place> (x, factor, integers, shifts) => (y) {
    place = Constant <value_int: int = @place> ()
    integer = Gather (integers, place)
    shift = Gather (shifts, place)
    lifted = Mul (x, factor)
    y = edgekiln.tflite.RoundedTwice (lifted, integer, shift)
}
Add <a_scale, b_scale, y_scale>
(a, b, a_zero, b_zero, integers, shifts, zero, low, high) => (y) {
    one = Constant <value_int: int = 1> ()
    unit = Constant <value_int: int = 1048576> ()
    left = edgekiln.tflite.Centred (a, a_zero)
    right = edgekiln.tflite.Centred (b, b_zero)
    first = edgekiln.tflite.Scaled <place: int = 0> (left, unit, integers, shifts)
    second = edgekiln.tflite.Scaled <place: int = 1> (right, unit, integers, shifts)
    total = Add (first, second)
    steps = edgekiln.tflite.Scaled <place: int = 2> (total, one, integers, shifts)
    y = edgekiln.tflite.Codes (steps, zero, low, high, a)
}
Sub <a_scale, b_scale, y_scale>
(a, b, a_zero, b_zero, integers, shifts, zero, low, high) => (y) {
    one = Constant <value_int: int = 1> ()
    unit = Constant <value_int: int = 1048576> ()
    left = edgekiln.tflite.Centred (a, a_zero)
    right = edgekiln.tflite.Centred (b, b_zero)
    first = edgekiln.tflite.Scaled <place: int = 0> (left, unit, integers, shifts)
    second = edgekiln.tflite.Scaled <place: int = 1> (right, unit, integers, shifts)
    total = Sub (first, second)
    steps = edgekiln.tflite.Scaled <place: int = 2> (total, one, integers, shifts)
    y = edgekiln.tflite.Codes (steps, zero, low, high, a)
}
Mul <a_scale, b_scale, y_scale>
(a, b, a_zero, b_zero, integers, shifts, zero, low, high) => (y) {
    one = Constant <value_int: int = 1> ()
    left = edgekiln.tflite.Centred (a, a_zero)
    right = edgekiln.tflite.Centred (b, b_zero)
    product = Mul (left, right)
    steps = edgekiln.tflite.Scaled <place: int = 0> (product, one, integers, shifts)
    y = edgekiln.tflite.Codes (steps, zero, low, high, a)
}
PRelu <a_scale, b_scale, y_scale>
(a, b, a_zero, b_zero, integers, shifts, zero, low, high) => (y) {
    none = Constant <value_int: int = 0> ()
    one = Constant <value_int: int = 1> ()
    left = edgekiln.tflite.Centred (a, a_zero)
    right = edgekiln.tflite.Centred (b, b_zero)
    product = Mul (left, right)
    plain = edgekiln.tflite.Scaled <place: int = 0> (left, one, integers, shifts)
    sloped = edgekiln.tflite.Scaled <place: int = 1> (product, one, integers, shifts)
    negative = Less (left, none)
    steps = Where (negative, sloped, plain)
    y = edgekiln.tflite.Codes (steps, zero, low, high, a)
}
AveragePool <kernel_shape, strides, pads, group, x_scale, x_zero>
(x, ones, none, counts, low, high) => (y) {
    two = Constant <value_int: int = 2> ()
    sums = ConvInteger <kernel_shape: ints = @kernel_shape, strides: ints = @strides,
        pads: ints = @pads, group: int = @group> (x, ones, none)
    wide = Cast <to: int = 7> (sums)
    size = Abs (wide)
    half = Div (counts, two)
    more = Add (size, half)
    quotient = Div (more, counts)
    sign = Sign (wide)
    whole = Mul (sign, quotient)
    inside = Clip (whole, low, high)
    y = CastLike (inside, x)
}
AveragePoolUp <kernel_shape, strides, pads, group, x_scale, x_zero>
(x, ones, none, counts, low, high) => (y) {
    two = Constant <value_int: int = 2> ()
    lowest = Constant <value_int: int = 128> ()
    sums = ConvInteger <kernel_shape: ints = @kernel_shape, strides: ints = @strides,
        pads: ints = @pads, group: int = @group> (x, ones, none)
    wide = Cast <to: int = 7> (sums)
    lift = Mul (counts, lowest)
    unsigned = Add (wide, lift)
    half = Div (counts, two)
    more = Add (unsigned, half)
    quotient = Div (more, counts)
    whole = Sub (quotient, lowest)
    inside = Clip (whole, low, high)
    y = CastLike (inside, x)
}
Mean <keepdims, x_scale, y_scale> (x, axes, x_zero, integer, shift, zero, low, high) => (y) {
    centred = edgekiln.tflite.Centred (x, x_zero)
    sums = ReduceSum <keepdims: int = @keepdims> (centred, axes)
    steps = edgekiln.tflite.RoundedTwice (sums, integer, shift)
    y = edgekiln.tflite.Codes (steps, zero, low, high, x)
}
Lookup <x_scale, x_zero, y_scale, y_zero> (x, table, lowest) => (y) {
    place = edgekiln.tflite.Centred (x, lowest)
    y = Gather (table, place)
}
Saturated (x) => (y) {
    low = Constant <value_int: int = -2147483648> ()
    high = Constant <value_int: int = 2147483647> ()
    y = Clip (x, low, high)
}
NewtonStep (half, x) => (y) {
    four = Constant <value_int: int = 4> ()
    unit = Constant <value_int: int = 536870912> ()
    product = edgekiln.tflite.DoubledHigh (half, x)
    error = Sub (unit, product)
    change = edgekiln.tflite.DoubledHigh (x, error)
    far = Mul (change, four)
    inside = edgekiln.tflite.Saturated (far)
    y = Add (x, inside)
}
ReciprocalOfOnePlus (a) => (y) {
    two = Constant <value_int: int = 2> ()
    one = Constant <value_int: int = 2147483648> ()
    slope = Constant <value_int: int = -1010580540> ()
    start = Constant <value_int: int = 1515870810> ()
    sum = Add (a, one)
    half = Div (sum, two)
    scaled = edgekiln.tflite.DoubledHigh (half, slope)
    x0 = Add (start, scaled)
    x1 = edgekiln.tflite.NewtonStep (half, x0)
    x2 = edgekiln.tflite.NewtonStep (half, x1)
    x3 = edgekiln.tflite.NewtonStep (half, x2)
    twice = Mul (x3, two)
    y = edgekiln.tflite.Saturated (twice)
}
Softmax <x_scale, x_zero> (x, powers, lowest) => (y) {
    two = Constant <value_int: int = 2> ()
    last = Constant <value_ints: ints = [-1]> ()
    digits = Constant <value_int: int = 12> ()
    bounds = Constant <value_ints: ints = [1048576, 2097152, 4194304, 8388608,
        16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824]> ()
    unit = Constant <value_int: int = 2147483648> ()
    bits = Constant <value_int: int = 35> ()
    most = Constant <value_int: int = 255> ()
    wide = Cast <to: int = 7> (x)
    top = ReduceMax <keepdims: int = 1> (wide, last)
    below = Sub (top, wide)
    terms = Gather (powers, below)
    shares = edgekiln.tflite.DividedByPower (terms, digits)
    total = ReduceSum <keepdims: int = 1> (shares, last)
    reached = GreaterOrEqual (total, bounds)
    ones = Cast <to: int = 7> (reached)
    more = ReduceSum <keepdims: int = 1> (ones, last)
    room = Sub (digits, more)
    lift = Pow (two, room)
    lifted = Mul (total, lift)
    above = Sub (lifted, unit)
    factor = edgekiln.tflite.ReciprocalOfOnePlus (above)
    products = edgekiln.tflite.DoubledHigh (factor, terms)
    down = Sub (bits, room)
    quotients = edgekiln.tflite.DividedByPower (products, down)
    inside = Min (quotients, most)
    codes = Add (inside, lowest)
    y = CastLike (codes, x)
}
Quantize (x, scale, zero, low, high, like) => (y) {
    below = Constant <value_float: float = 0.49999997> ()
    far = Constant <value_float: float = 1048576.0> ()
    near = Constant <value_float: float = -1048576.0> ()
    quotient = Div (x, scale)
    inside = Clip (quotient, near, far)
    size = Abs (inside)
    more = Add (size, below)
    whole = Floor (more)
    sign = Sign (inside)
    rounded = Mul (sign, whole)
    steps = Cast <to: int = 7> (rounded)
    y = edgekiln.tflite.Codes (steps, zero, low, high, like)
}
"""
