"""An option of every command that reads modules, and the numbers that options take."""

import math
import tomllib
from typing import TYPE_CHECKING, Any

import click

from edgekiln.compiler.build.recipe import MAX_SEED
from edgekiln.models.allowed_factories import check_names
from edgekiln.runtime.typed import from_table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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
        # First: comparisons with NaN are false, so that it would pass any range.
        return super().convert(Finite().convert(value, param, ctx), param, ctx)


class Drop(click.ParamType[tuple[str, float]]):
    """`PP`, or `NAME=PP`: the most that may be lost of every task, or of one."""

    name = "drop"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        name, _, number = str(value).rpartition("=")
        return name.strip(), FiniteRange(min=0).convert(number, param, ctx)


class TableText(click.ParamType[object]):
    """`key=value,key=value`: a table of a recipe in one line, of a dataclass's fields."""

    name = "key=value,…"

    def __init__(self, kind: "type[DataclassInstance]") -> None:
        self.kind = kind

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if isinstance(value, self.kind):
            return value
        try:
            table = tomllib.loads("\n".join(str(value).split(",")))
        except tomllib.TOMLDecodeError as error:
            self.fail(f"{value!r} is no row of key=value,key=value: {error}.", param, ctx)
        return from_table(self.kind, table, f"--{param.name}" if param else str(value))


SEED = click.IntRange(min=0, max=MAX_SEED)

shape_option = click.option(
    "--shape", "shape", multiple=True, metavar="NAME=SIZE",
    help="Fix an open extent of an ONNX model's inputs by its name, or all axes of an input by "
    "INPUT=1x3x224x224; again for more (default: none).",
)  # fmt: skip

constant_option = click.option(
    "--constant", "constant", multiple=True, metavar="NAME=VALUE",
    help="Let this input of an ONNX model be the same in every call; again for more (default: "
    "none).",
)  # fmt: skip

state_option = click.option(
    "--state", "state", multiple=True, metavar="IN=OUT",
    help="Let the program remember: this input is the call before's output, zero in the first; "
    "again for more (default: the pairs whose names say so).",
)  # fmt: skip

no_state_option = click.option(
    "--no-state", "no_state", is_flag=True,
    help="Look for no such pairs: what might be remembered is an input and an output.",
)  # fmt: skip

stream_option = click.option(
    "--stream", "stream", metavar="INPUT=AXIS:STEP", default="",
    help="Take the streaming form of a model over a window: a call is given STEP new frames of "
    "INPUT along AXIS, and the program remembers what else it takes (default: none).",
)  # fmt: skip

point_option = click.option(
    "--point", metavar="NAME|NUMBER", default="",
    help="Take this operating point of a program that has several (default: the first).",
)  # fmt: skip

before_option = click.option(
    "--before",
    multiple=True,
    metavar="STEP",
    help="Let the program take raw data, and do this before the network: pixels, nv12=HxW, "
    "yuyv=HxW, crop=HxW, resize, letterbox; or pcm, of sound, then mel=BANDS?… or mfcc=COUNT?…; or "
    "wordpiece=VOCABULARY?… or bpe=VOCABULARY?…, of text; or, of a table, buckets=COLUMN:EDGES;… "
    "and hash=COLUMN:COUNT;…; again for more.",
)
after_option = click.option(
    "--after",
    multiple=True,
    metavar="STEP",
    help="Let the program do this with the network's first output: softmax, sigmoid, argmax, "
    "top-k=K, threshold=T, hysteresis=ON?off=OFF&steps=N, again for more; or, of a sequence, "
    "ctc=greedy?blank=C&labels=FILE; or, with a detector's outputs, detections=FORM?score=T&iou=T.",
)
skip_option = click.option(
    "--skip", multiple=True, metavar="STAGE",
    help="Leave out this stage, distill or prune; again for more.",
)  # fmt: skip

# Of one command on one machine: a mistyped number must not start processes without end.
MAX_PROCESSES = 256
PROCESSES = click.IntRange(min=1, max=MAX_PROCESSES)

nproc_option = click.option(
    "--nproc", type=PROCESSES, default=1, show_default=True, metavar="N",
    help="Train on this many processes of this machine, each with its share of the cores and of "
    "the samples.",
)  # fmt: skip

# What becomes of a user's ONNX model at the door.
DOOR_OPTIONS = (shape_option, constant_option, state_option, no_state_option, stream_option)


def _whole_names(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    return check_names(value, "--allow-factory")


allow_factory_option = click.option(
    "--allow-factory", multiple=True, metavar="PACKAGE.MODULE:FACTORY", callback=_whole_names,
    help="Let a module file (.pt) have its network made by this function, too; again for more. "
    "Those of the zoo and those that you name yourself need no word.",
)  # fmt: skip
