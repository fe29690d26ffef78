"""Several programs become one: operating points that take and give the same tensors.

Their calls lie behind each other. Only those of one point run in an inference, so the lives of
their buffers never meet, and the arena is as large as the largest point's.
"""

from collections.abc import Mapping
from dataclasses import replace

from edgekiln.compiler.ir.program import ArenaBuffer, Arg, Call, Point, Program, Ref
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import TensorSpec


def merged(programs: Mapping[str, Program]) -> Program:
    """One program of several, by the names of the points; the first is what runs if nobody chooses.

    Raises:
        InputError: they take or give different tensors, or one of them remembers.
    """
    (first_name, first), *_ = programs.items()
    buffers: list[ArenaBuffer] = []
    calls: list[Call] = []
    points: list[Point] = []
    for name, program in programs.items():
        _check(first_name, first, name, program)
        # Points made of one network name their buffers alike.
        buffers += (replace(b, name=_owned(name, b.name)) for b in program.buffers)
        start = len(calls)
        calls += (_of_point(name, call) for call in program.calls)
        points.append(
            Point(
                name=name,
                calls=range(start, len(calls)),
                outputs=program.outputs,
                model_sha256=program.model_sha256,
            )
        )
    return replace(first, buffers=tuple(buffers), calls=tuple(calls), points=tuple(points))


def _check(first_name: str, first: Program, name: str, program: Program) -> None:
    """Raises InputError where a point does not fit the first one."""
    if program.states:
        state = program.states[0].tensor.name
        raise InputError(
            f"point {name}: its model remembers {state!r} from call to call",
            "points cannot have states: what one remembers means nothing to another",
        )
    for kind, ours, theirs in (
        ("inputs", first.inputs, program.inputs),
        ("outputs", _without_scales(first.outputs), _without_scales(program.outputs)),
    ):
        if ours != theirs:
            raise InputError(
                f"point {name}: its {kind} are {_described(theirs)}; those of {first_name} are "
                f"{_described(ours)}",
                "points of one bundle take and give the same tensors: the same names, shapes and "
                "types, and inputs of codes at one scale",
            )


def _without_scales(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Outputs of codes may have a scale of the point's own, which whoever reads them is told."""
    return tuple(replace(spec, scale=None, zero_point=None, labels=()) for spec in specs)


def _described(specs: tuple[TensorSpec, ...]) -> str:
    def one(spec: TensorSpec) -> str:
        scale = "" if spec.scale is None else f" × {spec.scale:.6g} at {spec.zero_point}"
        return f"{spec.name} {spec.dtype} {spec.shape}{scale}"

    return ", ".join(map(one, specs))


def _of_point(name: str, call: Call) -> Call:
    args = tuple(_moved(name, arg) for arg in call.args)
    where = replace(call.where, buffer=_owned(name, call.where.buffer)) if call.where else None
    return replace(call, args=args, where=where)


def _moved(name: str, arg: Arg) -> Arg:
    return replace(arg, buffer=_owned(name, arg.buffer)) if isinstance(arg, Ref) else arg


def _owned(name: str, buffer: str) -> str:
    return f"{name}: {buffer}"
