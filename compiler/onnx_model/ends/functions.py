"""What camera frames, their resizing, and sequences of classes compute, as ONNX functions; see
`own_functions`.

Tensors are uint8, (N, rows, columns, channels), but for frames in YUV, which are (N, rows, bytes of
a row). Numbers of rows and columns are int64, weights int32. Classes of steps, a `path`, are int64
(N, steps).

Sources: Pillow's Resample.c for `Resample…`, whose weights are in 2²²ths; OpenCV's color_yuv for
`YuvTo…`: ITU-R BT.601 in studio range, 16 to 235, in 2²⁰ths.
"""

from edgekiln.compiler.onnx_model.ends import column_functions

DOMAIN = "edgekiln.ends"
# Of text: they have no functions here, see `own_schemas` and `text_cut`.
WORDPIECE, BYTE_PAIR = TOKENIZERS = "WordPiece", "BytePair"

BUCKET, HASH_INDEX = "Bucket", "HashIndex"

_RESAMPLE = """\
Resample{name} (x, places, weights) => (y) {{
    half = Constant <value = int32 {{2097152}}> ()
    unit = Constant <value = int32 {{4194304}}> ()
    white = Constant <value = int32 {{255}}> ()
    axes = Constant <value_ints: ints = [{summed}]> ()
    wide = Cast <to: int = 6> (x)
    taken = Gather <axis: int = {axis}> (wide, places)
    products = Mul (taken, weights)
    sums = ReduceSum <keepdims: int = 0> (products, axes)
    more = Add (sums, half)
    whole = Div (more, unit)
    inside = Min (whole, white)
    y = Cast <to: int = 2> (inside)
}}
"""

TEXTS = (
    _RESAMPLE.format(name="Rows", axis=1, summed=2)
    + _RESAMPLE.format(name="Columns", axis=2, summed=3)
    + """\
Luma (x, rows, columns) => (y) {
    black = Constant <value = int32 {16}> ()
    none = Constant <value = int32 {0}> ()
    factor = Constant <value = int32 {1220542}> ()
    taken = Gather <axis: int = 1> (x, rows)
    every = Gather <axis: int = 2> (taken, columns)
    wide = Cast <to: int = 6> (every)
    above = Sub (wide, black)
    inside = Max (above, none)
    y = Mul (inside, factor)
}
Chroma (x, rows, columns) => (y) {
    gray = Constant <value = int32 {128}> ()
    taken = Gather <axis: int = 1> (x, rows)
    every = Gather <axis: int = 2> (taken, columns)
    wide = Cast <to: int = 6> (every)
    y = Sub (wide, gray)
}
Pixels (sums) => (y) {
    none = Constant <value = int32 {0}> ()
    white = Constant <value = int32 {255}> ()
    half = Constant <value = int32 {524288}> ()
    unit = Constant <value = int32 {1048576}> ()
    last = Constant <value_ints: ints = [-1]> ()
    more = Add (sums, half)
    light = Max (more, none)
    whole = Div (light, unit)
    inside = Min (whole, white)
    narrow = Cast <to: int = 2> (inside)
    y = Unsqueeze (narrow, last)
}
CtcCollapse <blank> (path) => (symbols) {
    nothing = Constant <value = int64 {-1}> ()
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    first = Constant <value_ints: ints = [0]> ()
    last = Constant <value_ints: ints = [-1]> ()
    along = Constant <value_ints: ints = [1]> ()
    before = Constant <value_ints: ints = [0, 1, 0, 0]> ()
    behind = Constant <value_ints: ints = [0, 0, 0, 1]> ()
    blanks = Constant <value_int: int = @blank> ()
    earlier = Slice (path, first, last, along)
    previous = Pad (earlier, before, nothing)
    repeated = Equal (path, previous)
    empty = Equal (path, blanks)
    gone = Or (repeated, empty)
    stays = Not (gone)
    numbers = Cast <to: int = 7> (stays)
    axis = Constant <value = int64 {1}> ()
    counts = CumSum (numbers, axis)
    ranks = Sub (counts, one)
    wide = Pad (path, behind, nothing)
    none = Mul (wide, zero)
    filler = Sub (none, one)
    shape = Shape (path)
    steps = Gather <axis: int = 0> (shape, one)
    places = Where (stays, ranks, steps)
    written = ScatterElements <axis: int = 1> (filler, places, path)
    symbols = Slice (written, first, last, along)
}
CountedSymbols (symbols) => (length) {
    none = Constant <value = int64 {-1}> ()
    along = Constant <value_ints: ints = [1]> ()
    there = Greater (symbols, none)
    numbers = Cast <to: int = 7> (there)
    length = ReduceSum <keepdims: int = 0> (numbers, along)
}
Hysteresis (x, state, on, off, steps) => (next) {
    zero = Constant <value = float {0}> ()
    one = Constant <value = float {1}> ()
    minus = Constant <value = float {-1}> ()
    is_on = Less (state, zero)
    is_off = Not (is_on)
    turned = Sub (minus, state)
    run = Where (is_on, turned, state)
    above = GreaterOrEqual (x, on)
    below = Less (x, off)
    rises = And (is_off, above)
    falls = And (is_on, below)
    wants = Or (rises, falls)
    longer = Add (run, one)
    counted = Where (wants, longer, zero)
    flips = GreaterOrEqual (counted, steps)
    left = Where (flips, zero, counted)
    now_on = Xor (is_on, flips)
    negative = Sub (minus, left)
    next = Where (now_on, negative, left)
}
YuvToGray (x, luma_rows, luma_columns) => (y) {
    luma = edgekiln.ends.Luma (x, luma_rows, luma_columns)
    y = edgekiln.ends.Pixels (luma)
}
YuvToRgb (x, luma_rows, luma_columns, chroma_rows, u_columns, v_columns) => (y) {
    u_blue = Constant <value = int32 {2116026}> ()
    u_green = Constant <value = int32 {-409993}> ()
    v_green = Constant <value = int32 {-852492}> ()
    v_red = Constant <value = int32 {1673527}> ()
    luma = edgekiln.ends.Luma (x, luma_rows, luma_columns)
    u = edgekiln.ends.Chroma (x, chroma_rows, u_columns)
    v = edgekiln.ends.Chroma (x, chroma_rows, v_columns)
    to_red = Mul (v, v_red)
    red_sum = Add (luma, to_red)
    red = edgekiln.ends.Pixels (red_sum)
    from_u = Mul (u, u_green)
    from_v = Mul (v, v_green)
    to_green = Add (from_u, from_v)
    green_sum = Add (luma, to_green)
    green = edgekiln.ends.Pixels (green_sum)
    to_blue = Mul (u, u_blue)
    blue_sum = Add (luma, to_blue)
    blue = edgekiln.ends.Pixels (blue_sum)
    y = Concat <axis: int = -1> (red, green, blue)
}
"""
    + column_functions.TEXTS
)
