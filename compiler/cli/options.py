"""An option of every command that reads modules, and the numbers that options take."""

import math
from typing import Any

import click

from edgekiln.compiler.build.recipe import MAX_SEED


class Finite(click.types.FloatParamType):
    """A number. NaN is refused, for no comparison with it holds, so that it would switch off
    whatever it is the limit of; and infinity, which no option needs.
    """

    def convert(
        self,
        value: Any,  # releases of click differ in what they call it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class FiniteRange(click.FloatRange):
    """A number as `Finite` takes it, from `min` to `max`, of which one at least is given."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        return super().convert(Finite().convert(value, param, ctx), param, ctx)


class Drop(click.ParamType[tuple[str, float]]):
    """`PP`, or `NAME=PP`: the most that may be lost of every task, or of one."""

    name = "drop"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        name, _, number = str(value).rpartition("=")
        return name.strip(), FiniteRange(min=0).convert(number, param, ctx)


SEED = click.IntRange(min=0, max=MAX_SEED)

shape_option = click.option(
    "--shape", "shape", multiple=True, metavar="NAME=SIZE",
    help="Fix an open extent of an ONNX model's inputs by its name, or all axes of an input by "
    "INPUT=1x3x224x224; again for more (default: none).",
)  # fmt: skip

allow_factory_option = click.option(
    "--allow-factory", multiple=True, metavar="PACKAGE.MODULE:FACTORY",
    help="Let a module file (.pt) have its network made by this function, too; again for more. "
    "Those of the zoo and those that you name yourself need no word.",
)  # fmt: skip
