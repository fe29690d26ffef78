"""Compile: a QDQ int8 model, or a float one, becomes the program of one target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.environment import toolchain
from edgekiln.compiler.pipeline import key_checks
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages import points
from edgekiln.runtime.errors import ConfigError, GateError
from edgekiln.targets.profile import TargetProfile

if TYPE_CHECKING:
    from edgekiln.compiler.ir.program import Program
    from edgekiln.compiler.lowering.state import SharedWeights
    from edgekiln.compiler.passes.gate import FloatOperator


MAX_BATCH = 1 << 20  # far more than any program's memory has room for


@dataclass(frozen=True, kw_only=True)
class CompileStage(Stage):
    """Lower to kernels, and those to a library, a header and a static benchmark runner."""

    name: ClassVar[str] = "compile"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx-int8", "onnx")
    gives: ClassVar[Kind] = "lib"
    suffix: ClassVar[str] = ".lib"
    uses_target: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = (
        "edgekiln", "apache-tvm", "apache-tvm-ffi", "numpy", "onnx", "onnxruntime",
    )  # fmt: skip

    program: str = field(
        default="model",
        metadata={"help": "Call the program by this name in its header and reports."},
    )
    batch: int = field(
        default=1, metadata={"help": "Make a program that takes this many samples a call."}
    )
    strict_int8: bool = field(
        default=False, metadata={"help": "Fail where a quantized operator would stay float."}
    )
    compact: bool = field(
        default=False,
        metadata={
            "help": "Prefer fewer bytes to less time: keep the weights of convolutions as they "
            "are, where more bytes would be faster: four to eight times as many of 3×3 ones on "
            "x86, twice as many on a Cortex-M4, M7 or M33."
        },
    )
    tuning: str = field(
        default="",
        metadata={
            "help": "Take the register tiles of this tuning file (default: the target's own, if "
            "it has one)."
        },
    )

    point: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Put this ONNX model into the same program as a further operating point, "
            "NAME=FILE: it takes and gives what IN does, and shares its memory and, where they are "
            "equal, its weights; again for more (default: none)."
        },
    )

    def __post_init__(self) -> None:
        points.files_of(self.point)
        if not 1 <= self.batch <= MAX_BATCH:
            raise ConfigError(
                f"compile: batch = {self.batch}", hint=f"1 to {MAX_BATCH} samples per call"
            )
        if not self.program:
            raise ConfigError("compile: program = ''", hint="give the program a name")

    def uses(self, src: Artifact | None, target: TargetProfile | None) -> Mapping[str, str]:  # noqa: ARG002
        """The C compiler and NVIDIA's, the models of further points, and the tuning file, which is
        read so that its faults are said now.
        """
        from edgekiln.compiler.aot import nvrtc
        from edgekiln.compiler.tuning import table

        assert target is not None, "compile uses a target"
        used = {"toolchain": toolchain.version(target.toolchain.cc)}
        if target.kind == "cuda":
            used["nvrtc"] = nvrtc.version(str(target.tvm["arch"]))
        if path := table.file_for(self.tuning, target):
            table.read(path)
            used["tuning"] = key_checks.hashed(path)
        for name, path in points.files_of(self.point).items():
            points.artifact(name, path)  # says what cannot be read
            used[f"point {name}"] = key_checks.hashed(path)
        return used

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.aot.build import build
        from edgekiln.compiler.pipeline.object_cache import ObjectCache
        from edgekiln.runtime.bundle import write_lib
        from edgekiln.runtime.points import all_layers

        assert ctx.target is not None, "compile uses a target"
        program, stayed_float = self.lower(src, ctx)
        lost = [operator for operator in stayed_float if operator.quantized]
        ctx.advance(2, 3, f"compiling for {ctx.target.name}")
        built = build(program, ctx.target, ObjectCache(root=ctx.objects))
        write_lib(dst, built.files)
        ctx.advance(3, 3, "")
        spec = built.spec
        # Of a microcontroller's program alone it is known what it takes of each memory.
        memories = {}
        if spec.footprint:
            memories = {
                "flash_bytes": spec.footprint.flash_bytes,
                "ram_bytes": spec.footprint.ram_bytes,
                "stack_bytes": spec.footprint.stack_bytes,
            }
        return {
            **memories,
            "macs": sum(layer.macs for layer in spec.layers),
            **({"points": len(spec.every_point)} if spec.point else {}),
            "float_operators": len(stayed_float),
            "float_operators_quantized": len(lost),
            "kernels": len({layer.kernel for layer in all_layers(spec)}),
            "code_bytes": spec.code_bytes,
            "weights_bytes": spec.weights_bytes,
            "arena_bytes": spec.arena_bytes,
            "arena_bound_bytes": built.arena_bound_bytes,
            "file_bytes": dst.stat().st_size,
        }

    def lower(self, src: Artifact, ctx: StageContext) -> "tuple[Program, list[FloatOperator]]":
        """The kernels of a model, and of those of further points, and their order; and what stayed
        float of a quantized one.

        Raises:
            GateError: a quantized operator stayed float, by `strict_int8`.
            EdgeKilnError: the model cannot be read or compiled.
        """
        from edgekiln.compiler.ir.points import merged
        from edgekiln.compiler.lowering.state import SharedWeights

        if not self.point:
            return self._lower_one(src, ctx, None)
        assert ctx.target is not None, "compile uses a target"
        points.check_target(ctx.target)
        files = points.files_of(self.point)
        models = {points.FIRST: src} | {name: points.artifact(name, files[name]) for name in files}
        wider = SharedWeights()
        found = {name: self._lower_one(model, ctx, wider) for name, model in models.items()}
        return (
            merged({name: program for name, (program, _) in found.items()}),
            [operator for _, stayed_float in found.values() for operator in stayed_float],
        )

    def _lower_one(
        self, src: Artifact, ctx: StageContext, wider: "SharedWeights | None"
    ) -> "tuple[Program, list[FloatOperator]]":
        """What `lower` gives, for one model."""
        from edgekiln.compiler.lowering.lower import lower
        from edgekiln.compiler.onnx_model import io
        from edgekiln.compiler.passes.pipeline import lowered
        from edgekiln.compiler.tuning import table
        from edgekiln.targets import isa

        assert ctx.target is not None, "compile uses a target"
        mk = isa.load(ctx.target.isa)
        ctx.advance(0, 3, "lowering")
        loaded = src.read(io.load_model)
        graph, stayed_float = lowered(src.path, ctx.target, self.batch, loaded=loaded)
        ctx.notes.extend(f"float: {operator}" for operator in stayed_float)
        lost = [str(operator) for operator in stayed_float if operator.quantized]
        # Before the kernels, which take the time.
        if self.strict_int8 and lost:
            raise GateError(
                f"{len(lost)} quantized operators stayed float: {'; '.join(lost)}",
                "change the model so that they can be quantized, or build without --strict-int8",
            )
        meta = io.read_meta(loaded)
        ctx.advance(1, 3, "generating kernels")
        file = table.file_for(self.tuning, ctx.target)
        choices = table.Choices.of(table.read(file) if file else (), ctx.target)
        program = lower(
            graph, mk, ctx.target.tvm, name=self.program, meta=meta, model_sha256=src.sha256,
            choices=choices, compact=self.compact, wider=wider,
        )  # fmt: skip
        # Only now is it known which layers there are, and which of them the file had a tile for.
        ctx.notes.extend(choices.notes(file))
        return program, stayed_float


def inspect_passes(
    model: Path, target: TargetProfile, batch: int, *, check: bool, dump: Path | None
) -> None:
    """Run the passes that `compile` runs, to look at them: beside the stage, so that what is asked
    for is there whether the program is compiled or found in the store.

    Args:
        check: look for faults in the graph after each pass.
        dump: a directory for the graph's printed form after each pass.

    Raises:
        EdgeKilnError: from the passes.
    """
    from edgekiln.compiler.passes.pipeline import Inspection, lowered

    lowered(model, target, batch, Inspection(check=check, dump=dump))
