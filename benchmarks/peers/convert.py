"""One network for one engine: `python -m edgekiln.benchmarks.peers.convert ENGINE PRECISION
MODULE.pt SAMPLES.npy TARGET`, in an environment that has the engine's converter.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.benchmarks.peers import BY_NAME
from edgekiln.benchmarks.peers.peer import Convert, SourceNetwork

if TYPE_CHECKING:
    from edgekiln.compiler.build.recipe import Precision


def main(argv: Sequence[str]) -> int:
    """Convert; ends with 1 and the converter's own words, one line, where it refuses."""
    engine, kind, module, samples, target = argv
    convert: Convert = importlib.import_module(BY_NAME[engine].module).convert
    precision: Precision = "int8" if kind == "int8" else "float32"
    source = SourceNetwork(module=Path(module), samples=np.load(samples))
    # Under another name until it is whole: a conversion that is killed leaves nothing to be found.
    unfinished = Path(target).with_name(f"unfinished-{Path(target).name}")
    try:
        convert(source, precision, unfinished)
    except Exception as error:  # a converter raises whatever its layers raise
        first_line = (str(error).strip() or repr(error)).splitlines()[0]
        print(f"{type(error).__name__}: {first_line[:300]}", file=sys.stderr)
        return 1
    parts = unfinished.parent.glob(f"{unfinished.stem}.*")
    for part in sorted(parts, key=lambda part: part == unfinished):  # what is looked for comes last
        part.rename(part.with_name(part.name.removeprefix("unfinished-")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
