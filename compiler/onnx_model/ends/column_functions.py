"""What columns of a table become, as ONNX functions; see `own_functions`.

The hash is MurmurHash3_x86_32, see `models.column_indices`; it needs operator set 18.
"""

from collections.abc import Iterator

from edgekiln.models.column_indices import (
    MURMUR_C1,
    MURMUR_C2,
    MURMUR_LAST,
    MURMUR_M,
    MURMUR_MIX,
    MURMUR_N,
)

_BUCKET = """\
Bucket <to> (x, edges) => (y) {
    last = Constant <value_ints: ints = [-1]> ()
    wide = Unsqueeze (x, last)
    below = Less (wide, edges)
    reached = Not (below)
    numbers = Cast <to: int = 7> (reached)
    count = ReduceSum <keepdims: int = 0> (numbers, last)
    y = Cast <to: int = @to> (count)
}
"""


def _constant(name: str, value: int) -> str:
    return f"{name} = Constant <value = uint32 {{{value}}}> ()"


def _turned(name: str, x: str, bits: int) -> Iterator[str]:
    yield _constant(f"{name}_left", bits)
    yield _constant(f"{name}_right", 32 - bits)
    yield f'{name}_up = BitShift <direction: string = "LEFT"> ({x}, {name}_left)'
    yield f'{name}_down = BitShift <direction: string = "RIGHT"> ({x}, {name}_right)'
    yield f"{name} = BitwiseOr ({name}_up, {name}_down)"


def _steps() -> Iterator[str]:
    yield "bits = Cast <to: int = 13> (x)"
    yield "half = Constant <value = uint64 {32}> ()"
    yield "low = Constant <value = uint64 {4294967295}> ()"
    yield "word0_bits = BitwiseAnd (bits, low)"
    yield 'word1_bits = BitShift <direction: string = "RIGHT"> (bits, half)'
    for name, value in (("c1", MURMUR_C1), ("c2", MURMUR_C2), ("m", MURMUR_M), ("n", MURMUR_N)):
        yield _constant(name, value)
    for word in ("word0", "word1"):
        yield f"{word} = Cast <to: int = 12> ({word}_bits)"
        yield f"{word}_a = Mul ({word}, c1)"
        yield from _turned(f"{word}_b", f"{word}_a", 15)
        yield f"{word}_c = Mul ({word}_b, c2)"
        if word == "word1":
            yield "word1_d = BitwiseXor (word0_h, word1_c)"
        yield from _turned(f"{word}_e", f"{word}_d" if word == "word1" else f"{word}_c", 13)
        yield f"{word}_f = Mul ({word}_e, m)"
        yield f"{word}_h = Add ({word}_f, n)"
    yield _constant("size", 8)
    yield "h0 = BitwiseXor (word1_h, size)"
    for place, (shift, factor) in enumerate(MURMUR_MIX):
        yield from _shifted(place, shift)
        yield _constant(f"factor{place}", factor)
        yield f"h{place + 1} = Mul (mixed{place}, factor{place})"
    last = len(MURMUR_MIX)
    yield from _shifted(last, MURMUR_LAST)
    yield f"left = Mod (mixed{last}, count)"
    yield "y = Cast <to: int = @to> (left)"


def _shifted(place: int, shift: int) -> Iterator[str]:
    yield _constant(f"shift{place}", shift)
    yield f'shifted{place} = BitShift <direction: string = "RIGHT"> (h{place}, shift{place})'
    yield f"mixed{place} = BitwiseXor (h{place}, shifted{place})"


_HASH = "HashIndex <to> (x, count) => (y) {\n" + "".join(f"    {s}\n" for s in _steps()) + "}\n"

TEXTS = _BUCKET + _HASH
