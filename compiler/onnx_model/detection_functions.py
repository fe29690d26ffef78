"""What becomes of a detector's boxes, as ONNX functions of fixed shapes; see `own_functions`.

How many boxes stay depends on data. So results have a row for each that could, and rows behind
those that did hold -1. Boxes are (N, boxes, 4), two opposite corners, scores (N, classes, boxes).
"""

DOMAIN = "edgekiln.detection"
RECORD = 6  # numbers of a detection: left, top, right, bottom, score, class
NOT_THERE = -1  # what fills the rows that are not there

_DETECTIONS = """\
{name} <most, per_class>
    (boxes, scores, overlap, least, factor, offset, low, high) => (detections) {{
    limit = Constant <value_ints: ints = @per_class> ()
    wanted = Constant <value_ints: ints = @most> ()
    rows = Constant <value_ints: ints = [0, -1]> ()
    last = Constant <value_ints: ints = [-1]> ()
    third = Constant <value_ints: ints = [2]> ()
    nothing = Constant <value = float {{-inf}}> ()
    filler = Constant <value = float {{-1}}> ()
{before}
    selected = NonMaxSuppression (boxes, used, limit, overlap, least)
    kept = GatherND (used, selected)
    shape = Shape (used)
    none = Expand (nothing, shape)
    marked = ScatterND (none, selected, kept)
    flat = Reshape (marked, rows)
    best, places = TopK (flat, wanted)
    count = Gather (shape, third)
    box = Mod (places, count)
    column = Unsqueeze (box, last)
{kind}
    taken = GatherND <batch_dims: int = 1> (boxes, column)
    scaled = Mul (taken, factor)
    moved = Add (scaled, offset)
    above = Max (moved, low)
    inside = Min (above, high)
    score = Unsqueeze (best, last)
    real = Cast <to: int = 1> (kind)
    class = Unsqueeze (real, last)
    every = Concat <axis: int = -1> (inside, score, class)
    there = Greater (score, nothing)
    detections = Where (there, every, filler)
}}
"""
_TOGETHER = """\
    one = Constant <value_ints: ints = [1]> ()
    wrong = IsNaN (scores)
    real_scores = Where (wrong, nothing, scores)
    used, kinds = TopK <axis: int = 1> (real_scores, one)
    kind_of = Reshape (kinds, rows)"""

TEXTS = (
    """\
FixedSuppression <center_point_box> (boxes, scores, most, overlap, least, filler) => (rows) {
    first = Constant <value = int64[1] {0}> ()
    three = Constant <value = int64[2] {1, 3}> ()
    selected = NonMaxSuppression <center_point_box: int = @center_point_box>
        (boxes, scores, most, overlap, least)
    shape = Shape (selected)
    count = Gather <axis: int = 0> (shape, first)
    ones = ConstantOfShape <value = int64[1] {1}> (count)
    numbers = NonZero (ones)
    column = Transpose <perm: ints = [1, 0]> (numbers)
    places = Expand (column, three)
    rows = ScatterElements <axis: int = 0> (filler, places, selected)
}
CountedRows (rows) => (count) {
    first = Constant <value = int64[1] {0}> ()
    one = Constant <value = int64[1] {1}> ()
    none = Constant <value = int64 {-1}> ()
    column = Gather <axis: int = 1> (rows, first)
    there = Greater (column, none)
    numbers = Cast <to: int = 7> (there)
    total = ReduceSum <keepdims: int = 0> (numbers)
    count = Reshape (total, one)
}
CountedDetections (detections) => (count) {
    last = Constant <value = int64[1] {5}> ()
    axes = Constant <value = int64[2] {1, 2}> ()
    none = Constant <value = float {-1}> ()
    column = Gather <axis: int = 2> (detections, last)
    there = Greater (column, none)
    numbers = Cast <to: int = 7> (there)
    count = ReduceSum <keepdims: int = 0> (numbers, axes)
}
FilledRows <axis> (x, rows, shape, filler) => (y) {
    first = Constant <value = int64[1] {0}> ()
    none = Constant <value = int64 {-1}> ()
    column = Gather <axis: int = 1> (rows, first)
    there = Greater (column, none)
    mask = Reshape (there, shape)
    y = Where (mask, x, filler)
}
"""
    + _DETECTIONS.format(
        name="DetectionsByClass", before="    used = Identity (scores)",
        kind="    kind = Div (places, count)",
    )
    + _DETECTIONS.format(
        name="DetectionsTogether", before=_TOGETHER,
        kind="    kind = GatherND <batch_dims: int = 1> (kind_of, column)",
    )
)  # fmt: skip


def filling(dtype: str) -> int:
    """What fills rows of a type: 0 where it has no sign."""
    return 0 if dtype == "bool" or dtype.startswith("uint") else NOT_THERE
