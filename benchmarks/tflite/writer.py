"""Writes small TFLite files, by the schema that the importer reads them by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite import schema
from edgekiln.compiler.onnx_model.tflite.opcodes import NAMES
from edgekiln.compiler.onnx_model.tflite.wire import Fields

_SIZES = {"bool": 1, "i8": 1, "u8": 1, "i32": 4, "u32": 4, "i64": 8, "u64": 8, "f32": 4}
_PREPEND = {
    "bool": "Bool", "i8": "Int8", "u8": "Uint8", "i32": "Int32", "u32": "Uint32",
    "i64": "Int64", "u64": "Uint64", "f32": "Float32",
}  # fmt: skip
NONE: Mapping[str, int] = MappingProxyType({})
_WEIGHTS_ZERO = 23  # of unsigned weights, less 128: so that they do not fit int8 without it


@dataclass
class TfliteWriter:
    """A model that grows tensor by tensor and operator by operator."""

    tensors: list[dict[str, object]] = field(default_factory=list)
    operators: list[dict[str, object]] = field(default_factory=list)
    buffers: list[dict[str, object]] = field(default_factory=lambda: [{}])
    codes: list[str] = field(default_factory=list)
    graphs: list[dict[str, object]] = field(default_factory=list)  # behind the first one

    def another(self, graph: "TfliteWriter", inputs: Sequence[int], outputs: Sequence[int]) -> int:
        """Take a graph that `inside` has begun; returns its number."""
        self.graphs.append(graph._graph(inputs, outputs))
        return len(self.graphs)

    def inside(self) -> "TfliteWriter":
        """Begin another graph of the same file."""
        return type(self)(buffers=self.buffers, codes=self.codes)

    def tensor(
        self, shape: Sequence[int], dtype: str = "int8", scale: float | Sequence[float] = (),
        zero: int | Sequence[int] = 0, axis: int = 0,
    ) -> int:  # fmt: skip
        """A value that an operator makes, or an input."""
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        found: dict[str, object] = {
            "shape": list(shape), "type": schema.TYPES.index(dtype), "buffer": 0,
            "name": f"t{len(self.tensors)}",
        }  # fmt: skip
        if scales.size:
            zeros = np.broadcast_to(np.atleast_1d(zero), scales.shape)
            found["quantization"] = (
                schema.QUANTIZATION,
                {"scale": scales.tolist(), "zero_point": zeros.tolist(), "axis": axis},
            )
        self.tensors.append(found)
        return len(self.tensors) - 1

    def constant(
        self, values: NDArray[np.generic], scale: float | Sequence[float] = (),
        zero: int | Sequence[int] = 0, axis: int = 0,
    ) -> int:  # fmt: skip
        """A tensor whose values are in the file."""
        place = self.tensor(values.shape, values.dtype.name, scale, zero, axis)
        self.buffers.append({"data": np.frombuffer(values.tobytes(), np.uint8)})
        self.tensors[place]["buffer"] = len(self.buffers) - 1
        return place

    def op(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int] | int,
        options: str = "", **given: object,
    ) -> None:  # fmt: skip
        """An operator; `options` is the type of its options."""
        if name not in self.codes:
            self.codes.append(name)
        made: dict[str, object] = {
            "code": self.codes.index(name), "inputs": list(inputs),
            "outputs": [outputs] if isinstance(outputs, int) else list(outputs),
        }  # fmt: skip
        if options:
            number, fields = schema.OPTIONS[options]
            made |= {"options_type": number, "options": (fields, given)}
        self.operators.append(made)

    def file(
        self, inputs: Sequence[int], outputs: Sequence[int], signatures: Mapping[str, int] = NONE
    ) -> bytes:
        """The whole file.

        Args:
            signatures: the graphs that they call, by their keys.
        """
        codes = [
            {
                "deprecated_code": min(NAMES.index(name), 127),
                "code": NAMES.index(name),
                "version": 1,
            }
            for name in self.codes
        ]
        graphs = [self._graph(inputs, outputs), *self.graphs]
        keys = [{"key": key, "graph": graph} for key, graph in signatures.items()]
        model = {
            "version": schema.VERSION, "operator_codes": (schema.OPERATOR_CODE, codes),
            "subgraphs": (schema.SUBGRAPH, graphs), "buffers": (schema.BUFFER, self.buffers),
            "signatures": (schema.SIGNATURE, keys),
        }  # fmt: skip
        builder = flatbuffers.Builder(1024)
        builder.Finish(_table(builder, schema.MODEL, model), schema.IDENTIFIER)
        return bytes(builder.Output())

    def _graph(self, inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
        return {
            "tensors": (schema.TENSOR, self.tensors), "inputs": list(inputs),
            "outputs": list(outputs), "operators": (schema.OPERATOR, self.operators),
        }  # fmt: skip


def _table(builder: flatbuffers.Builder, fields: Fields, values: Mapping[str, object]) -> int:
    ready = {name: _outside(builder, fields[name].kind, value) for name, value in values.items()}
    builder.StartObject(max((f.slot for f in fields.values()), default=0) + 1)
    for name, value in ready.items():
        known = fields[name]
        if known.kind in _PREPEND:
            slot = getattr(builder, f"Prepend{_PREPEND[known.kind]}Slot")
            default = known.default if known.kind == "f32" else int(known.default)
            slot(known.slot, value, default)
        else:
            builder.PrependUOffsetTRelativeSlot(known.slot, value, 0)
    return int(builder.EndObject())


def _outside(builder: flatbuffers.Builder, kind: str, value: object) -> object:
    if kind == "text":
        return builder.CreateString(value)
    if kind == "table":
        return _table(builder, *cast("tuple[Fields, Mapping[str, object]]", value))
    if kind == "[table]":
        fields, tables = cast("tuple[Fields, Sequence[Mapping[str, object]]]", value)
        return _vector(builder, [_table(builder, fields, each) for each in tables])
    if kind.startswith("["):
        dtype = {"[u8]": "u1", "[i32]": "i4", "[i64]": "i8", "[f32]": "f4"}[kind]
        if kind == "[u8]":  # weights want the alignment that TFLite's own files have
            return _aligned(builder, np.asarray(value, np.uint8))
        return builder.CreateNumpyVector(np.asarray(value, f"<{dtype}"))
    return value


def _aligned(builder: flatbuffers.Builder, values: NDArray[np.uint8]) -> int:
    builder.StartVector(1, values.size, 16)
    builder.head -= values.size
    builder.Bytes[builder.head : builder.head + values.size] = values.tobytes()
    return int(builder.EndVector())


def _vector(builder: flatbuffers.Builder, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


@dataclass
class NarrowWriter(TfliteWriter):
    """Writes the weights of products in four bits, two a byte: the upper four of int8's codes."""

    def op(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int] | int,
        options: str = "", **given: object,
    ) -> None:  # fmt: skip
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weights = self.tensors[inputs[1]]
            place = cast("int", weights["buffer"])
            codes = np.asarray(self.buffers[place]["data"], np.uint8) >> 4
            even = np.append(codes, np.zeros(len(codes) % 2, np.uint8))
            self.buffers[place] = {"data": even[::2] | even[1::2] << 4}
            weights["type"] = schema.TYPES.index("int4")
        super().op(name, inputs, outputs, options, **given)


@dataclass
class UnsignedWriter(TfliteWriter):
    """Writes every tensor of int8 as converters did until 2019: codes of uint8, one scale a tensor,
    weights with a zero point of their own.
    """

    def tensor(
        self, shape: Sequence[int], dtype: str = "int8", scale: float | Sequence[float] = (),
        zero: int | Sequence[int] = 0, axis: int = 0,
    ) -> int:  # fmt: skip
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        one = scales[[scales.size // 2]].tolist() if scales.size else ()
        if dtype != "int8":
            return super().tensor(shape, dtype, one, 0 if scales.size > 1 else zero, axis)
        if isinstance(scale, list):  # of weights
            zero = _WEIGHTS_ZERO
        return super().tensor(shape, "uint8", one, int(np.ravel(zero)[0]) + 128, 0)

    def constant(
        self, values: NDArray[np.generic], scale: float | Sequence[float] = (),
        zero: int | Sequence[int] = 0, axis: int = 0,
    ) -> int:  # fmt: skip
        if values.dtype != np.int8:
            return super().constant(values, scale, zero, axis)
        place = self.tensor(values.shape, "int8", scale, zero, axis)
        self.buffers.append({"data": unsigned(values).reshape(-1)})
        self.tensors[place]["buffer"] = len(self.buffers) - 1
        return place


def unsigned(codes: NDArray[np.generic]) -> NDArray[np.generic]:
    """Codes of int8 as uint8, which stand for the same numbers; others as they are."""
    return codes.view(np.uint8) ^ np.uint8(128) if codes.dtype == np.int8 else codes
