"""Programs of any signature: C that adds its inputs up, behind the interface of a `.lib`."""

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime import bundle, manifest
from edgekiln.runtime.library import byte_count
from edgekiln.runtime.manifest import Layer, TensorSpec
from tests.runtime.conftest import TOY

Shape = tuple[int, ...]


Arrays = list[NDArray[np.generic]]


def expected(inputs: Sequence[NDArray[np.generic]], outputs: Sequence[Shape]) -> Arrays:
    """Item i of output o: the sum over inputs of their item i, wrapped around, and o."""
    results: Arrays = []
    for number, shape in enumerate(outputs):
        count = int(np.prod(shape, dtype=int))
        total = np.full(count, number, np.float32)
        for array in inputs:
            total += np.resize(array.reshape(-1), count)
        results.append(total.reshape(shape))
    return results


def write(path: Path, inputs: Sequence[Shape], outputs: Sequence[Shape], body: str = "") -> Path:
    """A `.lib` of float32 inputs and outputs; `body` runs before an inference does."""
    takes = tuple(TensorSpec(name=f"x{i}", shape=s, dtype="float32") for i, s in enumerate(inputs))
    gives = tuple(TensorSpec(name=f"y{i}", shape=s, dtype="float32") for i, s in enumerate(outputs))
    layer = Layer(name="y0", op="sum", kernel="sum", macs=0, integer=False)
    spec = replace(
        TOY, inputs=takes, outputs=gives, arena_bytes=64, layers=(layer,), model_sha256="1" * 64
    )
    sizes = [
        "{" + ", ".join([*(str(byte_count(t)) for t in each), "0"]) + "}" for each in (takes, gives)
    ]
    counts = [[byte_count(tensor) // 4 for tensor in each] for each in (takes, gives)]
    sums = [
        f"for (int i = 0; i < {count}; i++) {{ float s = {number};"
        + "".join(f" s += ((const float *)in[{k}])[i % {n}];" for k, n in enumerate(counts[0]))
        + f" ((float *)out[{number}])[i] = s; }}"
        for number, count in enumerate(counts[1])
    ]
    code = path.with_suffix(".c")
    code.write_text(
        f"""
        #include <stddef.h>
        #include <stdint.h>
        #include <unistd.h>
        const size_t model_arena_bytes = 64;
        const int32_t model_input_count = {len(takes)}, model_output_count = {len(gives)};
        const int32_t model_step_count = 1;
        const size_t model_input_bytes[] = {sizes[0]}, model_output_bytes[] = {sizes[1]};
        typedef struct {{ const char *name, *op; int32_t work; }} model_step_t;
        const model_step_t model_steps[] = {{{{"y0", "sum", 0}}}};
        int model_run(const void *const in[], void *const out[], void *arena) {{
            (void)in, (void)out, (void)arena;
            {body}
            {" ".join(sums)}
            return 0;
        }}
        int model_step(void) {{ return 0; }}
        """
    )
    library = path.with_suffix(".so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, code], check=True)
    files = {
        "program.json": manifest.text_of(spec).encode(),
        "libmodel.so": library.read_bytes(),
    }
    bundle.write_lib(path, files)
    return path
