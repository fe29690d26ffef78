"""A model that takes text, for ONNX Runtime: the network takes the tokens, which Python makes.

ONNX has no operators for what a tokenizer does, so that the oracle of such a model is ONNX Runtime
behind an implementation that shares the tables of the C code, and nothing else.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.ends.functions import DOMAIN, TOKENIZERS, WORDPIECE
from edgekiln.models.text.bpe_check import bpe_fault_of
from edgekiln.models.text.bpe_tokens import BpeTokenizer
from edgekiln.models.text.table_check import fault_of
from edgekiln.models.text.tokens import Tokenizer
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx


@dataclass(frozen=True, kw_only=True)
class TextInput:
    """An input that is text, and what a network takes in its place: numbers, and perhaps a mask."""

    name: str
    tokenizer: Tokenizer | BpeTokenizer
    results: tuple[str, ...]

    def tokens(self, given: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        """The inputs of the network."""
        made = self.tokenizer(given.astype(np.uint8))
        return {name: array for name, array in zip(self.results, made, strict=False) if name}


def is_text(node: "onnx.NodeProto") -> bool:
    """Whether a node makes tokens of text."""
    return node.domain == DOMAIN and node.op_type in TOKENIZERS


def cut(model: "onnx.ModelProto") -> "tuple[onnx.ModelProto, Mapping[str, TextInput]]":
    """The network of a model, and the inputs of the model that are text, by name.

    Raises:
        UnsupportedError: the node is not as `edgekiln attach` makes it.
    """
    import onnx

    nodes = [node for node in model.graph.node if is_text(node)]
    if not nodes:
        return model, {}
    weights = {weight.name: weight for weight in model.graph.initializer}
    network = onnx.ModelProto()
    network.CopyFrom(model)
    given = {value.name: value for value in network.graph.input}
    texts = {node.input[0]: _text_of(node, given, weights) for node in nodes}
    values = [value for value in network.graph.input if value.name not in texts]
    for node in nodes:
        batch = given[node.input[0]].type.tensor_type.shape.dim[0]
        values += _inputs_of(node, batch, texts[node.input[0]].tokenizer)
    kept = [type(node).FromString(node.SerializeToString()) for node in network.graph.node
            if not is_text(node)]  # fmt: skip
    inputs = [type(value).FromString(value.SerializeToString()) for value in values]
    del network.graph.input[:], network.graph.node[:]
    network.graph.input.extend(inputs)
    network.graph.node.extend(kept)
    return network, texts


def _text_of(
    node: "onnx.NodeProto", given: "Mapping[str, onnx.ValueInfoProto]",
    weights: "Mapping[str, onnx.TensorProto]",
) -> TextInput:  # fmt: skip
    import onnx

    tables = weights.get(node.input[1]) if len(node.input) == 2 else None
    fault = "it reads no input of the model and no tables"
    if tables is not None and node.input[0] in given:
        array = onnx.numpy_helper.to_array(tables)
        check = fault_of if node.op_type == WORDPIECE else bpe_fault_of
        fault = check(array) if array.dtype == np.uint8 else "its tables are no bytes"
    if fault or tables is None:
        raise UnsupportedError(
            f"operator {DOMAIN}.{node.op_type} ({node.output[0]!r}): {fault}",
            "such nodes are made by `edgekiln attach`: attach the step again",
        )
    kind = Tokenizer if node.op_type == WORDPIECE else BpeTokenizer
    return TextInput(name=node.input[0], tokenizer=kind(array), results=tuple(node.output))


def _inputs_of(
    node: "onnx.NodeProto",
    batch: "onnx.TensorShapeProto.Dimension",
    tokenizer: Tokenizer | BpeTokenizer,
) -> "list[onnx.ValueInfoProto]":
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(tokenizer.dtype)
    made = []
    for name in filter(None, node.output):
        value = onnx.helper.make_tensor_value_info(name, kind, [1, tokenizer.length])
        value.type.tensor_type.shape.dim[0].CopyFrom(batch)
        made.append(value)
    return made
