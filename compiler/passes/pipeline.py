"""All passes, from an ONNX graph to operations of our own with a layout: the table of contents."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import onnx

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.printer import printed
from edgekiln.compiler.ir.rewrite import Pass
from edgekiln.compiler.ir.validate import faults
from edgekiln.compiler.passes.absorb_flatten import absorb_flatten
from edgekiln.compiler.passes.activation_dtype import activation_dtype
from edgekiln.compiler.passes.cancel_reshapes import cancel_reshapes
from edgekiln.compiler.passes.codes_at_edges import codes_at_edges
from edgekiln.compiler.passes.concat_in_place import concat_in_place
from edgekiln.compiler.passes.drop_identities import drop_identities
from edgekiln.compiler.passes.fallback import fallback_subgraphs
from edgekiln.compiler.passes.float_kernels import float_kernels
from edgekiln.compiler.passes.fuse_function import fuse_function
from edgekiln.compiler.passes.fuse_lookups import fuse_lookups
from edgekiln.compiler.passes.fuse_quantize import fuse_quantize
from edgekiln.compiler.passes.fuse_residual import fuse_residual
from edgekiln.compiler.passes.fuse_shuffle import fuse_shuffle
from edgekiln.compiler.passes.fuse_transpose import fuse_transpose, pixels_as_rows
from edgekiln.compiler.passes.gate import FloatOperator, float_operators
from edgekiln.compiler.passes.halo import halo
from edgekiln.compiler.passes.layout import layout
from edgekiln.compiler.passes.one_hot import one_hot, one_hot_product
from edgekiln.compiler.passes.qdq_to_integer import is_quantized, qdq_to_integer
from edgekiln.compiler.passes.state_codes import state_codes
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.files import make_folder, written_whole
from edgekiln.targets import isa
from edgekiln.targets.profile import TargetProfile

Phase = Literal["integers", "floats", "fusion", "codes", "memory"]

CHECK = "EDGEKILN_CHECK_IR"  # an environment variable; "1": check graphs wherever passes run


@dataclass(frozen=True, kw_only=True)
class PassSettings:
    """What of the target decides which passes run."""

    activation: str  # the bytes that its dot product takes: "uint8" or "int8"
    integer_edges: bool = False  # the program takes and gives codes, where the model has floats


def _always(_settings: PassSettings) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class PassEntry:
    """A pass and when it runs."""

    phase: Phase
    name: str
    run: Pass
    when: Callable[[PassSettings], bool] = _always


PASSES: tuple[PassEntry, ...] = (
    # What computes on quantized values, and what stays float.
    PassEntry(phase="integers", name="qdq_to_integer", run=qdq_to_integer),
    PassEntry(phase="integers", name="one_hot", run=one_hot),
    # Of floats, what has a kernel.
    PassEntry(phase="floats", name="float_kernels", run=float_kernels),
    # Fewer operations with the same results.
    PassEntry(phase="fusion", name="one_hot_product", run=one_hot_product),
    PassEntry(phase="fusion", name="drop_identities", run=drop_identities),
    PassEntry(phase="fusion", name="cancel_reshapes", run=cancel_reshapes),
    PassEntry(phase="fusion", name="fuse_lookups", run=fuse_lookups),
    PassEntry(phase="fusion", name="fuse_shuffle", run=fuse_shuffle),
    PassEntry(phase="fusion", name="fuse_residual", run=fuse_residual),
    PassEntry(phase="fusion", name="fuse_function", run=fuse_function),
    PassEntry(phase="fusion", name="fuse_quantize", run=fuse_quantize),
    PassEntry(phase="fusion", name="fuse_transpose", run=fuse_transpose),
    PassEntry(phase="fusion", name="pixels_as_rows", run=pixels_as_rows),
    # The target's type of code; what is left to Relax.
    PassEntry(
        phase="codes",
        name="unsigned_codes",
        run=partial(activation_dtype, dtype="uint8"),
        when=lambda settings: settings.activation == "uint8",
    ),
    PassEntry(
        phase="codes",
        name="signed_codes",
        run=partial(activation_dtype, dtype="int8"),
        when=lambda settings: settings.activation == "int8",
    ),
    PassEntry(phase="codes", name="state_codes", run=state_codes),
    PassEntry(
        phase="codes",
        name="codes_at_edges",
        run=codes_at_edges,
        when=lambda settings: settings.integer_edges,
    ),
    PassEntry(phase="codes", name="fallback_subgraphs", run=fallback_subgraphs),
    # How the values lie.
    PassEntry(phase="memory", name="layout", run=layout),
    PassEntry(phase="memory", name="halo", run=halo),
    PassEntry(phase="memory", name="absorb_flatten", run=absorb_flatten),
    PassEntry(phase="memory", name="concat_in_place", run=concat_in_place),
)


class PassError(EdgeKilnError):
    """A pass failed or left a graph that cannot be right: a fault of ours."""


@dataclass(kw_only=True)
class Inspection:
    """What is done with the graph after each pass."""

    check: bool = field(default_factory=lambda: os.environ.get(CHECK) == "1")
    dump: Path | None = None  # a directory for the graphs' printed forms


@dataclass(kw_only=True)
class PassRunner:
    """Runs passes in a row and remembers which."""

    graph: Graph
    settings: PassSettings
    inspection: Inspection
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._inspect("imported")

    def run(self, *phases: Phase) -> None:
        """Raises PassError: a pass failed; it names the pass and those before it."""
        for entry in PASSES:
            if entry.phase in phases and entry.when(self.settings):
                self._run(entry)

    def _run(self, entry: PassEntry) -> None:
        try:
            changed = entry.run(self.graph)
        except EdgeKilnError:
            raise
        except Exception as error:
            raise self._error(entry.name, f"{type(error).__name__}: {error}") from error
        self.done.append(entry.name)
        self._inspect(entry.name, changed)

    def _inspect(self, name: str, changed: bool = True) -> None:
        if self.inspection.dump is not None:
            make_folder(self.inspection.dump)
            file = self.inspection.dump / f"{len(self.done):02}-{name}.txt"
            with written_whole(file) as stream:
                stream.write(printed(self.graph).encode())
        if self.inspection.check and changed:
            found = faults(self.graph)
            if found:
                raise self._error(name, "; ".join(found[:3]))

    def _error(self, name: str, what: str) -> PassError:
        before = [done for done in self.done if done != name]
        return PassError(
            f"pass {name}: {what} (it ran after: {', '.join(before) or 'none'})",
            "this is a bug of edgekiln: report it with the graphs that --dump-ir DIR writes",
        )


def lower_graph(
    graph: Graph,
    activation: str,
    *,
    integer_edges: bool = False,
    inspection: Inspection | None = None,
) -> list[FloatOperator]:
    """Rewrite in place for a target whose dot product takes `activation` bytes.

    Args:
        integer_edges: the program takes and gives codes, where the model itself has floats.

    Returns:
        What stayed float in a quantized model; nothing of a float model.

    Raises:
        PassError: a pass failed.
    """
    quantized = is_quantized(graph)
    runner = PassRunner(
        graph=graph,
        settings=PassSettings(activation=activation, integer_edges=integer_edges),
        inspection=inspection or Inspection(),
    )
    runner.run("integers")
    # Between the phases: behind the next one, operators with float kernels are ONNX's no more.
    stayed_float = float_operators(graph) if quantized else []
    runner.run("floats", "fusion", "codes", "memory")
    return stayed_float


def lowered(
    model: Path,
    target: TargetProfile,
    batch: int = 1,
    inspection: Inspection | None = None,
    loaded: onnx.ModelProto | None = None,
) -> tuple[Graph, list[FloatOperator]]:
    """An ONNX model after all passes for a target, and what stayed float in it.

    Args:
        loaded: the model, if the caller has read it already; it is not changed.

    Raises:
        EdgeKilnError: the model cannot be read or compiled; a pass failed.
    """
    graph = import_onnx(model, batch, loaded)
    activation = isa.load(target.isa).activation
    stayed_float = lower_graph(
        graph, activation, integer_edges=target.integer_edges, inspection=inspection
    )
    return graph, stayed_float
