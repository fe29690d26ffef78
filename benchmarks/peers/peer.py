"""What every engine is asked for: files of its own from a network, and a call that infers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.build.recipe import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Infer = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class SourceNetwork:
    """A network as engines convert it: the module artifact with its weights, and samples.

    Args:
        samples: (n, …), to calibrate on, in the module's own layout.
    """

    module: Path
    samples: "NDArray[np.float32]"


Convert = Callable[[SourceNetwork, Precision, Path], None]  # writes the engine's model to the path
Prepare = Callable[[Path, int], Infer]  # of a model, with so many threads


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One engine that ours is measured against.

    Args:
        distribution: whose version is reported.
        suffix: of its model files; "" where it reads the suite's ONNX files.
        without: why a precision cannot be had.
    """

    name: str
    distribution: str
    module: str  # has `prepare` and, where there is a suffix, `convert`
    suffix: str = ""
    without: dict[Precision, str] | None = None
