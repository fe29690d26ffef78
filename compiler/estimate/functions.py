"""Estimate kernels without a network around them: what a tuner asks where there is no board."""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.aot.codegen import Compiled, compile_function
from edgekiln.compiler.aot.planner import ALIGN
from edgekiln.compiler.estimate import instruction_counter
from edgekiln.compiler.estimate.cost import Cost, costs, pipeline
from edgekiln.compiler.ir.memory import OVERREAD_BYTES
from edgekiln.targets.profile import TargetProfile

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

_MAIN = "functions.c"


def functions(
    candidates: "Sequence[tuple[PrimFunc, int]]", target: TargetProfile, *, model: str = ""
) -> list[Cost]:
    """The cost of one call of each kernel, on zeros: no kernel's path depends on its data.

    Args:
        candidates: each a function and its `work`, as in `kernels.spec.Kernel`.
        model: LLVM's name of a processor; "": the profile's.

    Raises:
        MissingToolError, UnsupportedError, ConfigError: as `program`.
    """
    pipe = pipeline(target, model)
    names = [f"kernel_{index}" for index in range(len(candidates))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        funcs = [func for func, _ in candidates]
        compiled = list(pool.map(compile_function, funcs, names, [target.tvm] * len(names)))
    with tempfile.TemporaryDirectory(prefix="edgekiln-estimate-") as directory:
        home = Path(directory)
        for name, each in zip(names, compiled, strict=True):
            (home / f"{name}.o").write_bytes(each.object)
        lines = _main(names, candidates, compiled)
        (home / _MAIN).write_text("\n".join(lines) + "\n", encoding="utf-8")
        executed = instruction_counter.run(target, home, _MAIN, [f"{name}.o" for name in names])
    of, _ = costs(executed, pipe)
    return [of[index] for index in range(len(names))]


def _main(
    names: Sequence[str], candidates: "Sequence[tuple[PrimFunc, int]]", compiled: Sequence[Compiled]
) -> Iterator[str]:
    """The lines of a C program that calls every kernel once, each a section, on shared memory."""
    sizes = [
        [*_tensor_bytes(func), *each.workspace]
        for (func, _), each in zip(candidates, compiled, strict=True)
    ]
    room = max(size + OVERREAD_BYTES for each in sizes for size in each)
    room = math.ceil(room / ALIGN) * ALIGN
    yield '#include <stdint.h>\n#include "mark.h"'
    yield f"static _Alignas({ALIGN}) unsigned char memory[{max(map(len, sizes))}][{room}];"
    calls = []
    for index, ((func, work), each) in enumerate(zip(candidates, compiled, strict=True)):
        tensors = len(_tensor_bytes(func))
        scalars = ["int32_t"] * 2 if work else []
        types = ["void *"] * tensors + scalars + ["void *"] * len(each.workspace)
        yield f"int32_t {names[index]}({', '.join(types)});"
        # Buffers, begin and end, scratch: the order that `aot.codegen` gives a function.
        rows = [f"memory[{row}]" for row in range(len(sizes[index]))]
        span = ["0", str(work)] if work else []
        arguments = [*rows[:tensors], *span, *rows[tensors:]]
        calls.append(f"    mark({index});\n    {names[index]}({', '.join(arguments)});")
    yield "int main(void) {"
    yield from calls
    yield "    mark(MARK_END);\n    return 0;\n}"


def _tensor_bytes(func: "PrimFunc") -> list[int]:
    """The bytes of each of the function's buffers, in order."""
    import tvm
    from tvm import tirx

    buffers = [param for param in func.params if tirx.buffer.is_buffer_var(param)]
    return [
        math.prod(int(extent) for extent in buffer.shape) * tvm.DataType(buffer.dtype).bits // 8
        for buffer in buffers
    ]
