"""One program, described so that two revisions can be compared: its kernels by the hash of their
TensorIR and of their machine code, its constants by theirs, and where everything lies.

Names are left out of the hashes: a kernel that was renamed is the same kernel.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from edgekiln.compiler.aot import planner, weights
from edgekiln.compiler.aot.backends.table import BACKENDS
from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.program import Arg, Const, In, Out, Program, Ref
from edgekiln.compiler.lowering.lower import lower
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.passes.pipeline import lowered
from edgekiln.compiler.tuning import table
from edgekiln.runtime.codec import encode
from edgekiln.targets import isa
from edgekiln.targets.profile import TargetProfile

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

_DIGITS = 24  # of a hash, hexadecimal
_SYMBOL = "kernel"  # machine code holds its function's name: one for all

TensorRecord = dict[str, object]  # the fields of a `TensorSpec`


class CodeRecord(TypedDict):
    """A kernel: hashes of its TensorIR and of its machine code, and its scratch memory in bytes."""

    tir: str
    object: NotRequired[str]
    workspace: NotRequired[list[int]]


class CallRecord(CodeRecord):
    """One call of a program, with names and numbers as `ir.program.Call` has them."""

    name: str
    op: str
    args: list[str]
    work: int
    writes: int
    macs: int
    integer: bool
    reason: str
    output: TensorRecord | None
    layout: str
    halo: dict[str, int] | None
    where: str | None


class Record(TypedDict):
    """A program for one target. `offsets` and `peak` are of its arena, in bytes."""

    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    buffers: list[tuple[str, int]]
    calls: list[CallRecord]
    weights: str
    offsets: NotRequired[dict[str, int]]
    peak: NotRequired[int]


@dataclass
class ReplayRecorder:
    """Makes records, and remembers the kernels it has seen.

    Args:
        machine_code: whether each kernel is compiled, too, which takes minutes a network.
        objects: hashes of machine code by TensorIR and target, kept from an earlier run or empty.
    """

    machine_code: bool = True
    objects: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    _functions: "dict[str, tuple[str, PrimFunc]]" = field(default_factory=dict)

    def record(self, model: Path, profile: TargetProfile) -> Record:
        """What `compile` makes of an ONNX model for one target."""
        program = program_of(model, profile)
        calls: list[CallRecord] = [
            {
                "name": call.name,
                "op": call.op,
                **self._code(call.code, profile),
                "args": [_argument(arg) for arg in call.args],
                "work": call.work,
                "writes": call.writes,
                "macs": call.macs,
                "integer": call.integer,
                "reason": call.reason,
                "output": encode(call.output) if call.output else None,
                "layout": call.layout,
                "halo": encode(call.halo) if call.halo else None,
                "where": _argument(call.where) if call.where else None,
            }
            for call in program.calls
        ]
        record: Record = {
            "inputs": [encode(spec) for spec in program.inputs],
            "outputs": [encode(spec) for spec in program.outputs],
            "buffers": [(buffer.name, buffer.bytes) for buffer in program.buffers],
            "calls": calls,
            "weights": _sha(weights.pack(program).blob),
        }
        if self.machine_code:  # which tells how much scratch memory a kernel asks for
            intervals = _intervals(program, calls)
            if BACKENDS[profile.kind].EDGES_IN_ARENA:
                intervals += planner.edges(program)
            plan = planner.plan(intervals)
            record["offsets"], record["peak"] = dict(plan.offsets), plan.peak
        return record

    def _code(self, code: Code, profile: TargetProfile) -> CodeRecord:
        if code.written:  # what the C compiler makes of it is not recorded
            return {"tir": f"{code.written.source}:{code.written.symbol}", "workspace": []}
        tir, function = self._tir(code)
        if not self.machine_code:
            return {"tir": tir}
        target = _sha(json.dumps(profile.tvm, sort_keys=True).encode())
        key = f"{tir}|{target}"
        if key not in self.objects:
            compiled = BACKENDS[profile.kind].compile_function(function, _SYMBOL, profile.tvm)
            # Layers, networks and targets share kernels: each is compiled once.
            self.objects[key] = (_sha(compiled.object), list(compiled.workspace))
        machine, workspace = self.objects[key]
        return {"tir": tir, "object": machine, "workspace": workspace}

    def _tir(self, code: Code) -> "tuple[str, PrimFunc]":
        """The hash of the function's TensorIR, and the function."""
        if code.signature not in self._functions or not code.signature:
            from tvm import ir

            function = code.func.without_attr("global_symbol")
            found = (_sha(ir.save_json(function).encode()), function)
            if not code.signature:
                return found
            self._functions[code.signature] = found
        return self._functions[code.signature]


def program_of(model: Path, profile: TargetProfile) -> Program:
    """The program of a model for a target, before anything is compiled."""
    graph, _ = lowered(model, profile)
    file = table.file_for("", profile)
    return lower(
        graph,
        isa.load(profile.isa),
        profile.tvm,
        name="model",
        meta=io.read_meta(io.load_model(model)),
        # It is no part of what is compared.
        model_sha256="0" * 64,
        choices=table.Choices.of(table.read(file) if file else (), profile),
    )


def _intervals(program: Program, calls: list[CallRecord]) -> list[planner.Interval]:
    """The lives of buffers and of each call's scratch memory."""
    return planner.lifetimes(program) + [
        planner.Interval(
            name=f"{call['name']}: workspace {slot}", bytes=size, first=index, last=index
        )
        for index, call in enumerate(calls)
        for slot, size in enumerate(call["workspace"])
    ]


def _argument(arg: Arg) -> str:
    match arg:
        case In(index=index):
            return f"in{index}"
        case Out(index=index):
            return f"out{index}"
        case Ref(buffer=buffer, offset=offset):
            return f"{buffer}+{offset}"
        case Const(array=array):
            content = _sha(np.ascontiguousarray(array).tobytes())
            return f"{array.dtype}{list(array.shape)}:{content}"


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
