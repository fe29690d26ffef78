"""Compile TensorIR functions to plain C functions, which need nothing of TVM on the device.

The passes are the CPU part of TVM 0.27's own pipeline up to, not including, the ones that would
wrap each function for the TVM runtime (AnnotateEntryFunc, SplitHostDevice, MakePackedAPI).
Functions with blocks (legalised Relax) and low-level ones (our kernels) go the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.lowering.tvm_target import target_of

if TYPE_CHECKING:
    from tvm.ir.transform import Pass
    from tvm.runtime import Module
    from tvm.target import Target
    from tvm.tirx import AllocBuffer, AttrStmt, For, PrimFunc, Stmt, Var

# A local array up to this size lives on the stack (and, if LLVM can, in registers); a larger one is
# handed in by the caller, from the arena. The stack of a small device is a few KiB.
MAX_STACK_BYTES = 4096

# The annotation by which LowerTVMBuiltin leaves an allocation to LLVM, as a stack slot. Without it
# only scope "global" may stay there; a local accumulator tile would come from the TVM runtime.
_ON_STACK = "disable_lower_builtin"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One function: `int32_t symbol(parameters…, workspace pointers…)`, 0 on success."""

    object: bytes  # a relocatable object file that defines the symbol and needs none but mem*
    workspace: tuple[int, ...]  # bytes behind each workspace pointer, aligned to 64


def compile_function(func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]) -> Compiled:
    """Compile one function. Buffer parameters become pointers aligned to 64 bytes, in order.

    Args:
        func: TIR with or without blocks, static shapes, no call into a runtime.
        tvm_target: a profile's `[tvm]` table.
    """
    import tvm
    from tvm import tirx

    target = target_of(_rightly_compiled(func, tvm_target))
    module = tvm.IRModule({symbol: func.with_attr("global_symbol", symbol)})
    module = tirx.transform.BindTarget(target.with_host(target))(module)
    module = tvm.ir.transform.Sequential(passes())(module)
    raw, workspace = _with_pointers(module[symbol], symbol, target)
    module = tvm.IRModule({symbol: raw})
    module = tirx.transform.LowerIntrin()(tirx.transform.LowerTVMBuiltin()(module))
    library = tvm.get_global_func("target.build.llvm")(module, target)
    return Compiled(object=_object_bytes(library), workspace=workspace)


def _rightly_compiled(func: "PrimFunc", tvm_target: Mapping[str, object]) -> dict[str, object]:
    """The target with which LLVM compiles this function rightly.

    LLVM 22's loop vectorizer loses the `& 3` of a loop that reads `x[i % 4]`, as the legalised Tile
    does, and then reads past the end of x. It runs at level 3, TVM's default, and at 2, not at 1.
    """
    return {**tvm_target, "opt-level": 1} if _wraps_around(func) else dict(tvm_target)


def _wraps_around(func: "PrimFunc") -> bool:
    """Whether the function has blocks, as what Relax legalised does, and a remainder in them."""
    from tvm import s_tir, tirx
    from tvm_ffi import structural_walk

    blocks: list[object] = []
    remainders: list[object] = []
    kinds = (tirx.FloorMod, tirx.Mod)
    structural_walk(func.body, [(s_tir.SBlock, blocks.append), (kinds, remainders.append)])
    return bool(blocks and remainders)


def passes() -> "list[Pass]":
    """The way from TensorIR as it is written to loops over flat memory, for any kind of chip."""
    from tvm.s_tir import transform as s_tir
    from tvm.tirx import transform as tirx

    return [
        # Blocks to loops. Nothing to do for a function without blocks.
        s_tir.CanonicalizeLoop(),
        s_tir.LowerInitBlock(),
        s_tir.PlanAndUpdateBufferAllocationLocation(),
        s_tir.ConvertBlocksToOpaque(),
        s_tir.CompactBufferAllocation(),
        s_tir.LowerMatchBuffer(),
        s_tir.StmtSimplify(),
        s_tir.LowerOpaqueBlock(),
        # Loops to flat memory, vectors and unrolled code.
        tirx.FlattenBuffer(),
        tirx.BF16ComputeLegalize(),
        tirx.NarrowDataType(32),
        s_tir.LoopPartition(),
        tirx.VectorizeLoop(True),
        tirx.StorageRewrite(),
        s_tir.HoistIfThenElse(),
        tirx.UnrollLoop(),
        s_tir.RenormalizeSplitPattern(),
        tirx.StmtSimplify(),
        tirx.RemoveNoOp(),
        s_tir.RewriteUnsafeSelect(),
    ]


def _with_pointers(
    func: "PrimFunc", symbol: str, target: "Target"
) -> "tuple[PrimFunc, tuple[int, ...]]":
    """Replace buffer parameters by pointers and give every local array its place.

    Returns the function and the bytes of each workspace pointer appended to its parameters.
    """
    from tvm import ir, tirx
    from tvm_ffi import structural_map

    params, prologue = pointers(func)
    workspace: list[int] = []

    def place(alloc: "AllocBuffer") -> "Stmt":
        size = _allocated_bytes(alloc)
        if size <= MAX_STACK_BYTES or alloc.buffer.scope() == "local":
            annotations = dict(alloc.annotations or {}) | {_ON_STACK: tirx.IntImm("int32", 1)}
            return tirx.AllocBuffer(alloc.buffer, annotations)
        pointer = tirx.Var(f"workspace_{len(workspace)}", alloc.buffer.data.ty)
        params.append(pointer)
        workspace.append(size)
        return tirx.DeclBuffer(alloc.buffer, data=pointer)

    def one_after_another(loop: "For") -> "For":
        """Iterations of a parallel loop, as TVM's scatters have them; our kernels have none."""
        if loop.kind != tirx.ForKind.PARALLEL:
            return loop
        return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body)

    def without_scope(attribute: "AttrStmt") -> "Stmt":
        """TVM's scatters name their scope; its own generator warns that it does not know that."""
        return attribute.body if attribute.attr_key == "pragma_scope" else attribute

    rules = [
        (tirx.AllocBuffer, place),
        (tirx.For, one_after_another),
        (tirx.AttrStmt, without_scope),
    ]
    body = structural_map(func.body, rules)
    if "x86" in target.attrs.get("mtriple", ""):
        prologue += _aligned_frame()
    success = tirx.stmt.Return(tirx.IntImm("int32", 0))
    attrs = ir.make_node(
        "ir.DictAttrs",
        **{
            "global_symbol": symbol,
            "target": target,
            "calling_conv": 0,  # a plain C function
            "tirx.is_global_func": True,
            "tirx.noalias": True,  # `restrict` on every pointer
        },
    )
    raw = tirx.PrimFunc(
        params,
        tirx.SeqStmt([*prologue, body, success]),
        ret_type=ir.PrimType("int32"),
        attrs=attrs,
    )
    return raw, tuple(workspace)


def pointers(func: "PrimFunc") -> "tuple[list[Var], list[Stmt]]":
    """Parameters with a pointer for each buffer, and the statements by which buffers lie there."""
    from tvm import ir, tirx

    params: list[Var] = []
    prologue: list[Stmt] = []
    for param in func.params:
        if not tirx.buffer.is_buffer_var(param):
            params.append(param)
            continue
        pointer = tirx.Var(f"{param.name}_ptr", param.data.ty)
        params.append(pointer)
        if isinstance(param.elem_offset, ir.Var):  # of TVM's scatters and sums: any, they say
            offset = param.elem_offset
            prologue.append(tirx.Bind(offset, tirx.IntImm(offset.ty.dtype, 0)))
        prologue.append(tirx.DeclBuffer(param, data=pointer))
    return params, prologue


def _aligned_frame() -> "list[Stmt]":
    """Statements that keep an unused register on the stack, so that LLVM aligns the frame for it.

    Left to itself it spills registers of 64 bytes to a stack aligned to 16, where stores and loads
    that cross cache lines take twice as long, in one build or program and not in the next.
    """
    from tvm import tirx

    register = tirx.decl_buffer((1,), "float32x16", name="frame", scope="local")
    read, local, data = (tirx.IntImm("int32", value) for value in (0, 0, 1))
    address = tirx.address_of(register[0])
    return [
        tirx.AllocBuffer(register, {_ON_STACK: tirx.IntImm("int32", 1)}),
        tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, read, local, data)),
    ]


def _allocated_bytes(alloc: "AllocBuffer") -> int:
    import tvm

    dtype = tvm.DataType(alloc.buffer.dtype)
    count = dtype.lanes
    for extent in alloc.buffer.shape:
        count *= int(extent)
    return int(count * dtype.bits + 7) // 8


def _object_bytes(library: "Module") -> bytes:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="edgekiln-") as home:
        path = Path(home, "kernel.o")
        library.write_to_file(str(path))
        return path.read_bytes()
