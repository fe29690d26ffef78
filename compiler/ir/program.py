"""The lowered model, a straight list of kernel calls: from the lowering to the AOT back end."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Code, Halo
from edgekiln.runtime.manifest import TensorSpec


@dataclass(frozen=True, kw_only=True)
class ArenaBuffer:
    """A tensor that lives in the arena from its first writer to its last reader."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class In:
    """Argument: the program's i-th input."""

    index: int


@dataclass(frozen=True, kw_only=True)
class Out:
    """Argument: the program's i-th output."""

    index: int


@dataclass(frozen=True, kw_only=True)
class Ref:
    """Argument: a place in the arena, `offset` bytes into the buffer."""

    buffer: str
    offset: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Const:
    """Argument: a read-only array; equal arrays are stored once, each aligned to 64 bytes."""

    array: NDArray[np.generic]


Arg = In | Out | Ref | Const


@dataclass(frozen=True, kw_only=True)
class Call:
    """One kernel call; `args` match the function's buffer parameters, the last one is written.

    A function of a fallback subgraph may write several buffers: `writes` counts them, from the end.
    """

    name: str  # the ONNX tensor it produces
    op: str
    code: Code
    args: tuple[Arg, ...]
    work: int = 0
    writes: int = 1
    macs: int = 0
    integer: bool = True
    reason: str = ""  # why it stayed float
    output: TensorSpec | None = None  # what it produces, for per-layer verification
    layout: str = "plain"  # of the output in memory: "NHWC" or "plain"
    halo: Halo | None = None
    where: Ref | None = None  # where `output` begins, if not where the call writes


@dataclass(frozen=True, kw_only=True)
class KeptBuffer:
    """A state: a buffer whose bytes the next call still finds, because nothing else lies there."""

    buffer: str
    tensor: TensorSpec  # what it holds, under the name of the model's input
    output: str  # the model's output that it becomes


@dataclass(frozen=True, kw_only=True)
class Point:
    """One of several programs in a library, which share its arena and its weights."""

    name: str
    calls: range  # of the whole program's
    outputs: tuple[TensorSpec, ...]  # codes may have a scale of the point's own
    model_sha256: str


@dataclass(frozen=True, kw_only=True)
class Program:
    """Everything the AOT back end needs."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    buffers: tuple[ArenaBuffer, ...]
    calls: tuple[Call, ...]
    model_sha256: str
    states: tuple[KeptBuffer, ...] = ()
    # Of several programs in one, see `ir.points`: each has some of the calls, and one runs at a
    # time. Outputs and model above are those of the first.
    points: tuple[Point, ...] = ()

    @property
    def runs(self) -> tuple[range, ...]:
        """The calls of each inference that is possible: of each point, else all of them."""
        return tuple(point.calls for point in self.points) or (range(len(self.calls)),)

    def owner(self, call: int) -> str:
        """The name of the point that a call is of; "" where there are none."""
        return next((point.name for point in self.points if call in point.calls), "")
