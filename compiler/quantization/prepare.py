"""Rewrites any float ONNX model into one that the quantizer understands."""

import itertools
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import (
    blocked_weights,
    folding,
    io,
    model_inputs,
    operators,
    recurrent_layers,
    resize,
    rewrites,
    rewriting,
    written_out,
)
from edgekiln.compiler.onnx_model.channel_norms import LAYER_NORM_OPSET
from edgekiln.compiler.onnx_model.conv_transpose import conv_from_transposed
from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.gemm import gemm_from_matmul, plain_gemm
from edgekiln.compiler.onnx_model.raising import raised
from edgekiln.compiler.quantization import held_nodes
from edgekiln.compiler.quantization.forms import table as forms
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

# Per-channel QuantizeLinear and DequantizeLinear exist since this operator set.
MIN_OPSET = 13


def prepare(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Raise the opset, fold constants and batch norms, put operations with an integer form where
    there is one, and name every node.

    Raises:
        UnsupportedError: already quantized, open sizes, or operators that
            ONNX Runtime or the opset conversion does not know.
    """
    import onnx

    if io.is_quantized(model) and not blocked_weights.are_all_codes(model):
        raise UnsupportedError(
            "the model is quantized already",
            hint="give the float model, or go on with: edgekiln compile",
        )
    if (meta := io.read_meta(model)).before or meta.after:
        raise UnsupportedError(
            "the model takes raw data already, or gives answers",
            hint="quantize the network, then give it its steps: edgekiln attach",
        )
    operators.check_known(model)
    # Refuses what has open sizes: ranges are observed on batches of one shape.
    model_inputs.of_model(model)
    given = {value.name for value in model.graph.input}
    for value in model.graph.output:
        if value.name in given:
            raise UnsupportedError(
                f"the model's output {value.name!r} is an input",
                hint="leave it out of the model's outputs: nothing computes it",
            )
    ready = onnx.ModelProto()
    ready.CopyFrom(model)
    _name_nodes(ready)
    # Before ONNX Runtime sees the model: not all of these are known to it.
    rewrites.mul_from_swish(ready)
    # While the model's own operator set says how pixels are placed.
    resize.in_products(ready, all_but_repeats=True)
    # What has no such form becomes its steps, one after the other.
    recurrent_layers.write_steps(ready)
    write_in_others(ready)
    operators.check_operands(ready)
    try:
        ready = _simplify(_upgrade(ready))
    except UnsupportedError:
        operators.check(ready)  # which knows better than ONNX Runtime what is wrong
        raise
    # What ONNX Runtime does not: ConstantOfShape, and the parts of a shape that are not open.
    while folding.fold(shaped := rewriting.with_shapes(ready)):
        ready = _simplify(shaped)
    ready = _as_one(ready)
    resize.in_products(ready, all_but_repeats=True)
    rewrites.add_from_sub(ready)
    forms.write(ready)
    rewrites.pool_from_reduce_mean(ready)
    rewrites.max_pool_takes_padding(ready)
    conv_from_transposed(ready)
    plain_gemm(ready)
    gemm_from_matmul(ready)
    # Last of the rewrites: only now is it settled who reads which constant.
    rewrites.own_weights(ready)
    operators.check(ready)
    # Rewrites made nodes without names.
    _name_nodes(ready)
    io.write_meta(ready, io.read_meta(model))
    return ready


def _upgrade(model: "onnx.ModelProto") -> "onnx.ModelProto":
    (opset,) = {o.version for o in model.opset_import if o.domain in ("", "ai.onnx")} or {0}
    # What is written as a LayerNormalization wants a newer operator set, and stays float where the
    # model cannot be raised to it.
    if opset < LAYER_NORM_OPSET and _has(model, "InstanceNormalization"):
        with suppress(UnsupportedError):
            return raised(model, opset, LAYER_NORM_OPSET)
    return raised(model, opset, MIN_OPSET) if opset < MIN_OPSET else model


def _as_one(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model with functions that are written out as one operator each, or as it is where it
    cannot be raised to the operator set that has them.
    """
    facts = rewriting.facts_of(model)
    wanted = written_out.opset_wanted(facts)
    if facts.opset < wanted:
        try:
            # Axes that were attributes are constants of nodes then.
            model = _simplify(raised(model, facts.opset, wanted))
        except UnsupportedError:
            return model
        _name_nodes(model)
    if wanted:
        written_out.write_as_one(model)
    return model


def _has(model: "onnx.ModelProto", op_type: str) -> bool:
    return any(node.op_type == op_type for node in model.graph.node)


def _simplify(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """ONNX Runtime's basic rewrites: constants and batch norms folded, identities dropped.

    They stay within ONNX's own operators; the domains it declares in passing are removed again.
    """
    import onnx

    from edgekiln.compiler.onnx_model.session import Session

    with TemporaryDirectory(prefix="edgekiln-") as folder:
        path = Path(folder, "simplified.onnx")
        bare, held = held_nodes.taken_out(model)
        Session(bare, optimize=False, save_to=path)
        simplified = onnx.load(path)
    used = {node.domain for node in simplified.graph.node}
    kept = [entry for entry in simplified.opset_import if entry.domain in used]
    del simplified.opset_import[:]
    simplified.opset_import.extend(kept)
    rewriting.drop_unused_weights(simplified)
    held_nodes.put_back(simplified, held, model)
    return simplified


def _name_nodes(model: "onnx.ModelProto") -> None:
    """ONNX Runtime and `exclude` know nodes by name; the tensor that a node makes is unique, but
    may be the name of another node.
    """
    taken: set[str] = set()
    for node in model.graph.node:
        if not node.name or node.name in taken:
            numbered = (f"{node.output[0]}_{count}" for count in itertools.count(2))
            names = itertools.chain([node.output[0]], numbered)
            node.name = next(name for name in names if name not in taken)
        taken.add(node.name)
