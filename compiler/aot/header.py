"""The C text of a program that its user reads: `model.h`."""

import re
from collections.abc import Iterator

from edgekiln.compiler.aot import header_templates as templates
from edgekiln.compiler.aot.emit import PlacedProgram, PlacedState, string
from edgekiln.compiler.aot.planner import ALIGN, nbytes
from edgekiln.compiler.ir.memory import OVERREAD_BYTES
from edgekiln.compiler.ir.program import Point
from edgekiln.compiler.kernels.conv2d.winograd_plan import MOST_SCRATCH_BYTES
from edgekiln.runtime.amx_permission import TILES
from edgekiln.runtime.manifest import DETECTIONS, DTYPES, ID, SYMBOLS, TEXT, VALUE, TensorSpec
from edgekiln.targets.profile import TargetProfile

# Scratch memories, and more than all else takes.
_STACK_BYTES = MOST_SCRATCH_BYTES + (64 << 10)


def header(source: PlacedProgram, profile: TargetProfile) -> str:
    """The text of `model.h`."""
    sizes = [
        line
        for kind, specs in (("INPUT", source.inputs), ("OUTPUT", source.outputs))
        for index, spec in enumerate(specs)
        for line in _sizes(f"MODEL_{kind}_{index}", spec)
    ]
    places = ""
    if source.places:
        offsets = [
            f"#define MODEL_{kind}_{index}_OFFSET {offset}"
            for kind, given in (("INPUT", source.places.inputs), ("OUTPUT", source.places.outputs))
            for index, offset in enumerate(given)
        ]
        places = templates.PLACES.format(offsets="\n".join(offsets))
    remembers, tiles = bool(source.states), TILES in profile.features
    return templates.HEADER.format(
        places=places, survives=_survives(source),
        points=_points_header(source) if source.points else "",
        classes="".join(_rows_of_answers(source)),
        reset=templates.RESET.format(
            count=len(source.states), states="\n".join(map(_state, source.states))
        ) if remembers else "",
        conduct=templates.CONDUCT.get(profile.kind, templates.CONDUCT["hosted"]).format(
            keeps=templates.KEEPS[remembers]
        ),
        errors=templates.ERRORS.get(profile.kind, "") + templates.NO_TILES * tiles,
        needs=templates.NEEDS[profile.kind].format(
            features=" ".join(profile.features), cflags=" ".join(profile.toolchain.cflags),
            stack=_STACK_BYTES >> 10,
        ),
        name=comment(source.name), target=profile.name,
        request=templates.REQUEST * tiles,
        align=ALIGN, overread=OVERREAD_BYTES, arena=source.arena_bytes,
        inputs=len(source.inputs), outputs=len(source.outputs), steps=len(source.steps),
        sizes="\n".join(sizes),
    )  # fmt: skip


def _rows_of_answers(source: PlacedProgram) -> Iterator[str]:
    """What the first output is about: the names of classes, the fields of a detection."""
    if source.labels:
        yield templates.CLASSES.format(count=len(source.labels))
    if source.outputs[0].holds == DETECTIONS:
        yield templates.DETECTIONS.format(count=source.outputs[0].shape[1])
    if source.outputs[0].holds == SYMBOLS:
        yield templates.SYMBOLS.format(count=source.outputs[0].shape[1])


def _survives(source: PlacedProgram) -> str:
    """What of the arena has to survive between two runs, for the user."""
    if source.points:
        return templates.SURVIVES_POINTS
    return templates.SURVIVES[bool(source.states)]


def _points_header(source: PlacedProgram) -> str:
    return templates.POINTS.format(
        count=len(source.points),
        points="\n".join(
            f" *   {number} {comment(point.name)}{''.join(_scales(point))}"
            for number, point in enumerate(source.points)
        ),
    )


def _scales(point: Point) -> Iterator[str]:
    """What codes of a point's outputs mean, which differs between points."""
    for spec in point.outputs:
        if spec.scale is not None:
            yield f"\n *       {_describe(spec)}"


# C's type for each of numpy's; of float16, which C has not everywhere, the bits.
C_TYPES = {
    "bool": "uint8_t", "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t",
    "uint16": "uint16_t", "int32": "int32_t", "uint32": "uint32_t", "int64": "int64_t",
    "uint64": "uint64_t", "float16": "uint16_t", "float32": "float", "float64": "double",
}  # fmt: skip


def _sizes(prefix: str, spec: TensorSpec) -> Iterator[str]:
    """What C needs to know of one input or output: bytes, elements, their type, and its name."""
    elements = nbytes(spec) // DTYPES[spec.dtype]
    yield f"#define {prefix}_BYTES {nbytes(spec)} /* {_describe(spec)} */"
    yield f"#define {prefix}_ELEMENTS {elements}"
    yield f"#define {prefix}_TYPE {C_TYPES[spec.dtype]}"
    yield f"#define {prefix}_NAME {string(spec.name)}"
    if spec.rate_hz:
        yield f"#define {prefix}_RATE_HZ {spec.rate_hz} /* samples of sound a second */"
    if spec.holds == TEXT:
        yield f"#define {prefix}_TEXT 1 {templates.TEXT}"
    if spec.holds in (VALUE, ID):
        yield f"#define {prefix}_{spec.holds.upper()} 1 {templates.COLUMNS[spec.holds]}"


def _state(state: PlacedState) -> str:
    spec = state.spec
    return f" *   {_describe(spec.tensor)}; becomes {comment(spec.output)}"


def _describe(spec: TensorSpec) -> str:
    shape = "x".join(map(str, spec.shape)) or "scalar"
    text = f"{spec.name}: {spec.dtype} {shape}"
    if spec.scale is not None:
        text += f", real = (q - {spec.zero_point}) * {spec.scale!r}"
    return comment(text)


def comment(text: str) -> str:
    """The text without what would end a comment, begin another, or warn in one: names come from
    the user's model.
    """
    plain = _BREAKS.sub(" ", text.replace("\\", "/"))
    # One after the other, so that nothing is made of what was apart.
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)", " ", plain)


_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
