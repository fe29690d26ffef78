"""Export: a trained module becomes a float ONNX model that every later stage can read."""

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.compiler.stages.uses_module import data_of_module, used_factory
from edgekiln.runtime.errors import ConfigError, MismatchError, UnsupportedError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import nn

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.models.artifact import ModuleMeta
    from edgekiln.targets.profile import TargetProfile

# Trained nets differ by 5e-6 between PyTorch and ONNX Runtime; a wrong operator by 0.1 and more.
TOLERANCE = 1e-3
_BATCH = 32

_PLACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in .*\n(?P<code>.+)')


@dataclass(frozen=True, kw_only=True)
class ExportStage(Stage):
    """Write the module as ONNX, batch norm folded, and prove that it still computes the same."""

    name: ClassVar[str] = "export"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    tools: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript")

    opset: int = field(default=20, metadata={"help": "ONNX operator set, 18 or newer."})
    samples: int = field(
        default=64, metadata={"help": "Samples on which ONNX and PyTorch are compared."}
    )
    data: str = field(
        default="", metadata={"help": "Data set to compare on; the model's own by default."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the data set's splits."})

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"export: samples = {self.samples}", hint="compare on at least one")

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_module(src))

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
        feed = feed_for(meta, about.input_shape, data=self.data, seed=self.seed)
        ctx.advance(0, 2, "tracing the module")
        model = to_onnx(module, about, opset=self.opset)
        io.write_meta(model, meta)
        ctx.advance(1, 2, "comparing with PyTorch")
        metrics = _parity(module, model, feed, samples=self.samples)
        ctx.notes.extend(_leftovers(model))
        if io.fixed_batch(model) is not None:
            ctx.notes.append("the batch is fixed at 1: forward() makes a number of it, as len(x)")
        io.save_model(model, dst)
        ctx.advance(2, 2, "")
        return metrics | {"nodes": len(model.graph.node), "file_bytes": dst.stat().st_size}


def to_onnx(
    module: "nn.Module", about: "ModuleMeta", *, opset: int, batch: int = 0
) -> "onnx.ModelProto":
    """Trace and rewrite.

    Args:
        batch: fixed in the model; 0: open, or fixed at 1 where the module makes a number of it.

    Raises:
        UnsupportedError: the module cannot be traced; the message names the operation.
        ConfigError: the exporter does not know this operator set.
    """
    import onnx
    import torch

    from edgekiln.compiler.onnx_model import names, rewrites

    # torch takes a batch of 1 for a constant
    example = torch.zeros(batch or 2, *about.input_shape)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                optimize=True,
                verbose=False,
                opset_version=opset,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=None if batch else ({0: torch.export.Dim("batch", min=1)},),
            )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedError(
            f"{about.factory}: cannot be exported: {_cause(error)}",
            hint="rewrite that part so that the same operations run for every input",
        ) from error
    assert program is not None  # None only when torch writes the file itself
    model: onnx.ModelProto = program.model_proto
    _check_opset(model, opset)
    _check_ends(model, about.factory)
    if io.fixed_batch(model) not in (None, batch):  # the example's, of which nobody knows
        return to_onnx(module, about, opset=opset, batch=1)
    rewrites.pool_from_reduce_mean(model)
    names.name_after_modules(model)
    names.strip_traces(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _check_opset(model: "onnx.ModelProto", wanted: int) -> None:
    """Unknown operator sets are not refused by torch: it logs an error and takes another one."""
    (made,) = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if made != wanted:
        raise ConfigError(
            f"export: opset {wanted} was asked for, PyTorch wrote opset {made}",
            hint="the exporter writes opset 18 and newer; leave the option out for 20",
        )


def _check_ends(model: "onnx.ModelProto", factory: str) -> None:
    count = len(model.graph.output)
    if count != 1:
        raise UnsupportedError(
            f"{factory}: gives {count} tensors, one is needed",
            hint="wrap the model so that forward() returns its logits alone",
        )


def _parity(
    module: "nn.Module", model: "onnx.ModelProto", feed: "Feed", *, samples: int
) -> dict[str, float]:
    """Compare on held-out samples. Raises MismatchError above `TOLERANCE` of the largest output."""
    import torch

    from edgekiln.compiler.onnx_model.session import Session

    session = Session(model, optimize=True)
    theirs: list[NDArray[np.generic]] = []
    ours: list[NDArray[np.generic]] = []
    batch = io.fixed_batch(model) or _BATCH
    for x, _ in feed.batches(feed.dataset.val, batch=batch, samples=samples):
        with torch.no_grad():
            theirs.append(module(torch.from_numpy(x)).numpy())
        ours += session(x)
    expected, got = np.concatenate(theirs), np.concatenate(ours)
    difference = float(np.abs(expected - got).max())
    largest = float(np.abs(expected).max())
    if not difference <= TOLERANCE * largest:  # also when it is NaN
        raise MismatchError(
            f"the exported model differs from PyTorch by {difference:.3g} "
            f"(largest output {largest:.3g}) on {len(got)} samples",
            hint="a forward() that depends on training mode or on the batch is the usual cause",
        )
    agreement = float((expected.argmax(-1) == got.argmax(-1)).mean())
    return {"max_abs_difference": difference, "argmax_agreement": agreement}


def _leftovers(model: "onnx.ModelProto") -> list[str]:
    from edgekiln.compiler.onnx_model.rewrites import batch_norms_after_conv

    return [
        f"batch norm {name} is not folded: its convolution has a second reader"
        for name in batch_norms_after_conv(model)
    ]


def _cause(error: BaseException) -> str:
    """The innermost reason and the user's line in one line: torch wraps them in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    reason = next((line.strip() for line in text.splitlines() if line.strip()), "")
    reason = reason.partition(" (unhinted")[0] or type(error).__name__
    for place in _PLACE.finditer(text):
        if f"{os.sep}site-packages{os.sep}" not in place["file"]:
            name = Path(place["file"]).name
            return f"{reason} ({name}, line {place['line']}: {place['code'].strip()})"
    return reason


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings about itself. What goes wrong arrives as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
