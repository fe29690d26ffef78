"""Export: a trained module becomes a float ONNX model that every later stage can read."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from edgekiln.compiler.onnx_model import extents, io, model_inputs, recurrent, torch_exporter
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.compiler.stages.uses_module import (
    data_of_module,
    require_allowed_factory,
    used_factory,
)
from edgekiln.runtime.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import nn
    from torch.export import Dim

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.models.artifact import ModuleMeta
    from edgekiln.targets.profile import TargetProfile

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class ExportStage(Stage):
    """Write the module as ONNX, batch norm folded, and prove that it still computes the same."""

    name: ClassVar[str] = "export"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    tools: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy")

    opset: int = field(
        default=20, metadata={"help": "Write this version of ONNX's operator set, 18 or newer."}
    )
    samples: int = field(
        default=64, metadata={"help": "Compare ONNX and PyTorch on this many samples."}
    )
    data: str = field(
        default="",
        metadata={"help": "Compare on this data set, a name or a path (default: the model's own)."},
    )
    seed: int = field(default=0, metadata={"help": "Split the data set by this seed."})

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"export: samples = {self.samples}", hint="compare on at least one")

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_module(src))

    def require_allowed(self, src: Artifact | None, allow: frozenset[str]) -> None:
        require_allowed_factory(src, allow)

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {**used_data(self.data, self.seed), **used_factory(src)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.onnx_model.feed import feed_for
        from edgekiln.models.artifact import load_module

        module, about = load_module(src.path, ctx.allow)
        meta = Meta(
            preprocessing=about.preprocessing,
            labels=about.classes,
            data=self.data or about.data,
            task=about.task,
        )
        takes = model_inputs.of_module(about)
        feed = feed_for(meta, takes, data=self.data, seed=self.seed)
        ctx.advance(0, 2, "tracing the module")
        model = to_onnx(module, about, opset=self.opset)
        io.write_meta(model, meta)
        ctx.advance(1, 2, "comparing with PyTorch")
        metrics = _parity(module, model, feed, samples=self.samples)
        ctx.notes.extend(_leftovers(model))
        if model_inputs.of_model(model).batch is not None:
            reason = "forward() makes a number of it, as len(x)"
            if layers := recurrent.layers(model):
                reason = f"the steps of {', '.join(layers)} are those of one batch"
            ctx.notes.append(f"the batch is fixed at 1: {reason}")
        io.save_model(model, dst)
        ctx.advance(2, 2, "")
        return metrics | {"nodes": len(model.graph.node), "file_bytes": dst.stat().st_size}


def to_onnx(
    module: "nn.Module", about: "ModuleMeta", *, opset: int, batch: int = 0
) -> "onnx.ModelProto":
    """Trace and rewrite.

    Args:
        batch: fixed in the model; 0: open, or fixed at 1 where the module makes a number of it
            or has a recurrent layer.

    Raises:
        UnsupportedError: the module cannot be traced; the message names the operation.
        ConfigError: the exporter does not know this operator set.
    """
    import torch

    takes = model_inputs.of_module(about).inputs
    # torch takes a batch of 1 for a constant
    example = [torch.from_numpy(np.zeros((batch or 2, *each.shape), each.dtype)) for each in takes]
    open_batch = torch.export.Dim("batch", min=1)
    model = torch_exporter.traced(
        module.eval(),
        tuple(example),
        called=about.factory,
        opset=opset,
        input_names=[each.name for each in takes],
        output_names=list(about.outputs),
        dynamic_shapes=None if batch else _as_called(module, [{0: open_batch} for _ in takes]),
    )
    # Both before rewrites, whose errors would name what the user has never written.
    _check_opset(model, opset)
    _check_ends(model, about)
    found = model_inputs.of_model(model).batch
    # A batch of the example's, of which nobody knows; or one that no recurrent layer may have open.
    if found not in (None, batch) or (found is None and recurrent.layers(model)):
        return to_onnx(module, about, opset=opset, batch=1)
    torch_exporter.tidy(model, about.factory)
    return model


def _as_called(module: "nn.Module", shapes: "list[dict[int, Dim]]") -> "tuple[object, ...]":
    """The open extents of the inputs, those of `*inputs` of forward() in a tuple of their own."""
    kinds = [each.kind for each in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return tuple(shapes)
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*shapes[:named], tuple(shapes[named:]))


def _check_opset(model: "onnx.ModelProto", wanted: int) -> None:
    """Unknown operator sets are not refused by torch: it logs an error and takes another one."""
    (made,) = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if made != wanted:
        raise ConfigError(
            f"export: opset {wanted} was asked for, PyTorch wrote opset {made}",
            hint="the exporter writes opset 18 and newer; leave the option out for 20",
        )


def _check_ends(model: "onnx.ModelProto", about: "ModuleMeta") -> None:
    count, wanted = len(model.graph.output), len(about.outputs)
    if count != wanted:
        needed = "one is needed" if wanted == 1 else f"{wanted} are needed"
        raise UnsupportedError(
            f"{about.factory}: gives {count} tensors, {needed}",
            hint="wrap the model so that forward() returns its logits alone",
        )
    kept = {value.name for value in extents.model_inputs(model)}
    if lost := [each.name for each in about.inputs if each.name not in kept]:
        raise UnsupportedError(
            f"{about.factory}: does not use its input {lost[0]}",
            hint="leave it out of the samples, or wrap the model so that forward() uses it",
        )


def _parity(
    module: "nn.Module", model: "onnx.ModelProto", feed: "Feed", *, samples: int
) -> dict[str, float]:
    """Compare on held-out samples. Raises MismatchError as `torch_exporter.require_equal`."""
    import torch

    from edgekiln.compiler.onnx_model.session import Session
    from edgekiln.models.module_ends import named_outputs

    session = Session(model, optimize=True)
    # The validation split: the test split is for the last word only.
    theirs: list[NDArray[np.float64]] = []
    ours: list[NDArray[np.float64]] = []
    batch = model_inputs.of_model(model).batch or _BATCH
    for given in feed.batches("val", batch=batch, samples=samples):
        tensors = (torch.from_numpy(given[each.name]) for each in feed.takes.inputs)
        with torch.no_grad():
            outputs = named_outputs(module(*tensors), "the module")
        theirs.append(_in_rows([tensor.numpy() for tensor in outputs.values()]))
        ours.append(_in_rows(session(given)))
    expected, got = np.concatenate(theirs), np.concatenate(ours)
    hint = "a forward() that depends on training mode or on the batch is the usual cause"
    difference = torch_exporter.require_equal(expected, got, hint)
    agreement = float((expected.argmax(-1) == got.argmax(-1)).mean())
    return {"max_abs_difference": difference, "argmax_agreement": agreement}


def _in_rows(outputs: "list[NDArray[np.generic]]") -> "NDArray[np.float64]":
    """All outputs side by side, a row a sample."""
    rows = [output.reshape(len(output), -1).astype(np.float64) for output in outputs]
    return np.concatenate(rows, axis=1)


def _leftovers(model: "onnx.ModelProto") -> list[str]:
    from edgekiln.compiler.onnx_model.rewrites import batch_norms_after_conv

    return [
        f"batch norm {name} is not folded: its convolution has a second reader"
        for name in batch_norms_after_conv(model)
    ]
