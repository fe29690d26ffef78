"""Operating points: the programs of one library, of which one runs at a time."""

from dataclasses import replace

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.manifest import Layer, ProgramSpec
from edgekiln.runtime.typed import whole_number


def names(spec: ProgramSpec) -> tuple[str, ...]:
    """The points by their numbers; none of a program that has but one."""
    return (spec.point, *(each.name for each in spec.further_points)) if spec.point else ()


def number(spec: ProgramSpec, point: int | str) -> int:
    """The number of a point that is given by number or by name.

    Raises:
        ConfigError: there is no such point; the hint tells which there are.
    """
    known = names(spec)
    text = str(point)
    if isinstance(point, str) and text in known:  # a number is one, whatever points are called
        return known.index(text)
    if (place := whole_number(text, max(len(known) - 1, 0))) is not None:
        return place
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(known))
    raise ConfigError(
        f"{spec.name} has no point {text!r}",
        hint=f"its points are: {listed}" if known else "it has one only: build it with several",
    )


def at_point(spec: ProgramSpec, point: int) -> ProgramSpec:
    """What the program is at a point, as if that were compiled alone: the fields of a program
    without points, but for `point`, its name.
    """
    if point == 0:
        return replace(spec, further_points=())
    other = spec.further_points[point - 1]
    # What the data set says of the outputs goes for every point.
    outputs = tuple(
        replace(theirs, labels=ours.labels)
        for theirs, ours in zip(other.outputs, spec.outputs, strict=True)
    )
    return replace(
        spec,
        outputs=outputs,
        layers=other.layers,
        model_sha256=other.model_sha256,
        point=other.name,
        further_points=(),
    )


def all_layers(spec: ProgramSpec) -> tuple[Layer, ...]:
    """The layers of every point, in the order of the library's steps."""
    return tuple(layer for each in spec.every_point for layer in each.layers)


def first_step(spec: ProgramSpec, point: int) -> int:
    """The number of the library's step that a point begins with."""
    return sum(len(each.layers) for each in spec.every_point[:point])
