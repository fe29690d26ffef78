"""LSTM and GRU as ONNX functions, the steps of floats and layers of codes; see `own_functions`.

What the data bring to every step is a product of its own, one row a step of a sequence of the
batch: (length · batch, gates · width). The steps are a loop over what depends on the step before:
the product of the state with `weights`, (width, gates · width), and the gates. Their order is
ONNX's: of an LSTM input, output, forget, cell; of a GRU update, reset, hidden.

In a layer of codes both products are of int8. The state that is multiplied has one scale, whose
reciprocal is `inverse`, and the zero point `zero`. The int32 sums of both, times their factors, are
added and rounded to whole numbers, of which `STEPS` are 1, or 2 of what is given to tanh. Gates are
a table that is interpolated in integers, so that their float32 is exact:

    σ(x) = (levels[x's 16ths] · 128 + rises[x's 16ths] · rest) / 2²³        tanh(x) = 2σ(2x) - 1

What is added to in every step, an LSTM's cell and a GRU's state, is float32: each product
and sum is rounded by itself, so that every chip has the same bits.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

DOMAIN = "edgekiln.recurrent"
STEPS = 2048  # of what a gate's function is given, in 1
PLACES = 512  # of the table: from -16 to 16
REST = 128  # steps from a place to the next
FRACTION_BITS = 16  # of a level; of what is interpolated, with those of `REST`, 23

GATES = {"LstmSteps": 4, "GruSteps": 3, "GruStepsResetFirst": 3}
FLOAT = tuple(GATES)
CODED = {name: f"Coded{name.replace('Steps', '')}" for name in FLOAT}  # the layer of such steps
# Operands of a layer of codes, before and behind what one kind has: a first cell, or a bias. The
# first state is codes in an LSTM, and float32 in a GRU, which adds to it.
DATA = ("x", "x_zero", "inputs", "x_bias", "x_factors", "state")
STATE = ("weights", "factors", "inverse", "zero", "levels", "rises")


@cache
def levels() -> NDArray[np.int32]:
    """σ at each place of the table and behind the last one, in 2⁻¹⁶."""
    x = np.arange(PLACES + 1) / (STEPS / REST) - PLACES / 2 / (STEPS / REST)
    return np.rint((1 << FRACTION_BITS) / (1 + np.exp(-x))).astype(np.int32)


def table() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Levels, and how much each rises to the next."""
    return levels()[:-1], np.diff(levels())


# In float32 exact: 2⁻²³, 2⁻²²; 2²² is σ = ½.
_HELPERS = """\
Squashed (steps, levels, rises) => (y) {
    low = Constant <value = float {-32768}> ()
    high = Constant <value = float {32767}> ()
    half = Constant <value = int32 {32768}> ()
    unit = Constant <value = int32 {128}> ()
    inside = Clip (steps, low, high)
    nearest = Round (inside)
    whole = Cast <to: int = 6> (nearest)
    at = Add (whole, half)
    place = Div (at, unit)
    rest = Mod (at, unit)
    level = Gather (levels, place)
    rise = Gather (rises, place)
    base = Mul (level, unit)
    more = Mul (rise, rest)
    y = Add (base, more)
}
Sigmoid (steps, levels, rises) => (y) {
    unit = Constant <value = float {0.00000011920928955078125}> ()
    whole = edgekiln.recurrent.Squashed (steps, levels, rises)
    real = Cast <to: int = 1> (whole)
    y = Mul (real, unit)
}
Tanh (steps, levels, rises) => (y) {
    unit = Constant <value = float {0.0000002384185791015625}> ()
    half = Constant <value = int32 {4194304}> ()
    whole = edgekiln.recurrent.Squashed (steps, levels, rises)
    centred = Sub (whole, half)
    real = Cast <to: int = 1> (centred)
    y = Mul (real, unit)
}
Codes (x, inverse, zero) => (y) {
    low = Constant <value = float {-128}> ()
    high = Constant <value = float {127}> ()
    most = Constant <value = float {4194304}> ()
    least = Constant <value = float {-4194304}> ()
    scaled = Mul (x, inverse)
    bounded = Clip (scaled, least, most)
    whole = Round (bounded)
    origin = Cast <to: int = 1> (zero)
    moved = Add (whole, origin)
    inside = Clip (moved, low, high)
    y = Cast <to: int = 3> (inside)
}
Fed (x, x_zero, inputs, x_bias, x_factors, shape) => (y) {
    wide = Cast <to: int = 6> (x)
    origin = Cast <to: int = 6> (x_zero)
    centred = Sub (wide, origin)
    matrix = Cast <to: int = 6> (inputs)
    products = MatMul (centred, matrix)
    sums = Add (products, x_bias)
    real = Cast <to: int = 1> (sums)
    scaled = Mul (real, x_factors)
    y = Reshape (scaled, shape)
}
"""
_LOOP = """\
    {results} = Scan <num_scan_inputs: int = 1, scan_input_directions: ints = @directions,
        scan_output_directions: ints = @directions, body: graph = step ({takes}) => ({gives}) {{
{body}
    }}> ({operands})
{end}}}
"""
# Types and shapes that inference, which looks into no function inside of a loop, cannot find.
_TYPED = """\
    states = Constant <value_ints: ints = @states> ()
    state_of_all = Constant <value_ints: ints = @state> ()
    of_steps = Cast <to: int = {type}> (found)
    y = Reshape (of_steps, states)
    left_real = Cast <to: int = 1> (left)
    after = Reshape (left_real, state_of_all)
"""
_FLOATS, _CODES = (_TYPED.format(type=number) for number in (1, 3))  # of ONNX's types
_SHAPES = """\
    shape = Constant <value_ints: ints = @shape> ()
    parted = Constant <value_ints: ints = @parted> ()
    first = Constant <value_int: int = 0> ()
    second = Constant <value_int: int = 1> ()
    third = Constant <value_int: int = 2> ()
    fourth = Constant <value_int: int = 3> ()
"""


def _gates(source: str, *names: str) -> str:
    """Lines that cut what belongs to the gates apart."""
    places = ("first", "second", "third", "fourth")
    lines = [f"    {source}.parts = Reshape ({source}, parted)"]
    lines += [
        f"    {name} = Gather <axis: int = 1> ({source}.parts, {place})"
        for name, place in zip(names, places, strict=False)
    ]
    return "\n".join(lines).replace(".", "_")


_LSTM_END = """\
    gated = Mul (let_in, candidate)
    held = Mul (kept, cell)
    after = Add (held, gated)"""
_GRU_END = """\
    difference = Sub (state, hidden)
    change = Mul (update, difference)
    after = Add (hidden, change)"""

_FLOAT_LSTM = f"""\
LstmSteps <shape, parted, states, state, directions> (p, state, cell, weights) => (y, after) {{
{_SHAPES}    fed = Reshape (p, shape)
""" + _LOOP.format(
    results="last, left, found", operands="state, cell, fed", end=_FLOATS,
    takes="float[B, H] h, float[B, H] cell, float[B, F] row",
    gives="float[B, H] shown, float[B, H] after, float[B, H] copy",
    body="    product = MatMul (h, weights)\n    sums = Add (product, row)\n"
    + _gates("sums", "a", "b", "c", "d")
    + f"""
    let_in = Sigmoid (a)
    let_out = Sigmoid (b)
    kept = Sigmoid (c)
    candidate = Tanh (d)
{_LSTM_END}
    seen = Tanh (after)
    shown = Mul (let_out, seen)
    copy = Identity (shown)""",
)  # fmt: skip
_CODED_HEAD = f"""\
{_SHAPES}    fed = edgekiln.recurrent.Fed (x, x_zero, inputs, x_bias, x_factors, shape)
    origin = Cast <to: int = 6> (zero)
    matrix = Cast <to: int = 6> (weights)
"""
_SUMS = """\
    wide = Cast <to: int = 6> (codes)
    centred = Sub (wide, origin)"""
_CODED_LSTM = f"""\
CodedLstm <shape, parted, states, state, directions, x_scale, y_scale>
({", ".join((*DATA, "cell", *STATE))}) => (y, after) {{
{_CODED_HEAD}    depth = Constant <value = float {{4096}}> ()
""" + _LOOP.format(
    results="last, left, found", operands="state, cell, fed", end=_CODES,
    takes="int8[B, H] codes, float[B, H] cell, float[B, F] row",
    gives="int8[B, H] shown, float[B, H] after, int8[B, H] copy",
    body=f"""\
{_SUMS}
    products = MatMul (centred, matrix)
    real = Cast <to: int = 1> (products)
    scaled = Mul (real, factors)
    sums = Add (scaled, row)
{_gates("sums", "a", "b", "c", "d")}
    let_in = edgekiln.recurrent.Sigmoid (a, levels, rises)
    let_out = edgekiln.recurrent.Sigmoid (b, levels, rises)
    kept = edgekiln.recurrent.Sigmoid (c, levels, rises)
    candidate = edgekiln.recurrent.Tanh (d, levels, rises)
{_LSTM_END}
    deep = Mul (after, depth)
    seen = edgekiln.recurrent.Tanh (deep, levels, rises)
    real_h = Mul (let_out, seen)
    shown = edgekiln.recurrent.Codes (real_h, inverse, zero)
    copy = Identity (shown)""",
)  # fmt: skip


def _float_gru(name: str, body: str) -> str:
    return (
        f"{name} <shape, parted, states, state, directions>\n"
        "(p, state, weights, bias) => (y, after) {\n"
        f"{_SHAPES}    square = Constant <value_ints: ints = @square> ()\n"
        "    matrices = Reshape (weights, square)\n"
        "    hidden_matrix = Gather <axis: int = 1> (matrices, third)\n"
        "    fed = Reshape (p, shape)\n"
    ).replace("directions>", "directions, square>") + _LOOP.format(
        results="left, found", operands="state, fed", end=_FLOATS,
        takes="float[B, H] state, float[B, F] row",
        gives="float[B, H] after, float[B, H] copy",
        body=(
            "    product = MatMul (state, weights)\n    sums = Add (product, bias)\n"
            f"{_gates('sums', 'a', 'b', 'c')}\n{_gates('row', 'd', 'e', 'f')}\n"
            "    of_update = Add (a, d)\n    update = Sigmoid (of_update)\n"
            "    of_reset = Add (b, e)\n    reset = Sigmoid (of_reset)\n"
            f"{body}    hidden = Tanh (of_hidden)\n{_GRU_END}\n    copy = Identity (after)"
        ),
    )  # fmt: skip


def _coded_gru(name: str, body: str) -> str:
    opened = [
        f"    {gate}_steps = Add ({part}, {row})\n"
        f"    {gate} = edgekiln.recurrent.Sigmoid ({gate}_steps, levels, rises)\n"
        for gate, part, row in (("update", "a", "d"), ("reset", "b", "e"))
    ]
    return (
        f"{name} <shape, parted, states, state, directions, square, x_scale, y_scale>\n"
        f"({', '.join((*DATA, 'bias', *STATE))}) => (y, after) {{\n"
        f"{_CODED_HEAD}    square = Constant <value_ints: ints = @square> ()\n"
        "    matrices = Reshape (matrix, square)\n"
        "    hidden_matrix = Gather <axis: int = 1> (matrices, third)\n"
        "    row_of_parts = Constant <value_ints: ints = [1, 3, -1]> ()\n"
        "    factor_parts = Reshape (factors, row_of_parts)\n"
        "    hidden_factors = Gather <axis: int = 1> (factor_parts, third)\n"
    ) + _LOOP.format(
        results="left, found", operands="state, fed", end=_CODES,
        takes="float[B, H] state, float[B, F] row",
        gives="float[B, H] after, int8[B, H] shown",
        body=(
            "    codes = edgekiln.recurrent.Codes (state, inverse, zero)\n"
            f"{_SUMS}\n    products = MatMul (centred, matrix)\n    all = Add (products, bias)\n"
            "    real = Cast <to: int = 1> (all)\n    scaled = Mul (real, factors)\n"
            f"{_gates('scaled', 'a', 'b', 'c')}\n{_gates('row', 'd', 'e', 'f')}\n"
            f"{''.join(opened)}{body}"
            "    hidden_steps = Add (hidden_part, f)\n"
            "    hidden = edgekiln.recurrent.Tanh (hidden_steps, levels, rises)\n"
            f"{_GRU_END}\n    shown = edgekiln.recurrent.Codes (after, inverse, zero)"
        ),
    )  # fmt: skip


_RESET_FIRST_OF_CODES = """\
    weighed = Mul (reset, state)
    weighed_codes = edgekiln.recurrent.Codes (weighed, inverse, zero)
    weighed_wide = Cast <to: int = 6> (weighed_codes)
    weighed_centred = Sub (weighed_wide, origin)
    hidden_products = MatMul (weighed_centred, hidden_matrix)
    hidden_real = Cast <to: int = 1> (hidden_products)
    hidden_part = Mul (hidden_real, hidden_factors)
"""
TEXTS = (
    _HELPERS
    + _FLOAT_LSTM
    + _float_gru(
        "GruSteps", "    weighed = Mul (reset, c)\n    of_hidden = Add (weighed, f)\n"
    )
    + _float_gru(
        "GruStepsResetFirst",
        "    weighed = Mul (reset, state)\n    hidden_product = MatMul (weighed, hidden_matrix)\n"
        "    of_hidden = Add (hidden_product, f)\n",
    )
    + _CODED_LSTM
    + _coded_gru("CodedGru", "    hidden_part = Mul (reset, c)\n")
    + _coded_gru("CodedGruResetFirst", _RESET_FIRST_OF_CODES)
)  # fmt: skip
