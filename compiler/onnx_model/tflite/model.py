"""A TFLite file as plain data: the first graph's tensors, operators, inputs, outputs; checked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.four_bits import signed, unpacked
from edgekiln.compiler.onnx_model.tflite import schema
from edgekiln.compiler.onnx_model.tflite.opcodes import NAMES
from edgekiln.compiler.onnx_model.tflite.wire import FileTable, NoTablesError, root
from edgekiln.runtime.errors import InputError, UnsupportedError

# Of tensors that a program may hold, by TFLite's names.
_DTYPES: Mapping[str, np.dtype[np.generic]] = {
    name: np.dtype(name)
    for name in ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")
}
_FOUR_BITS = "int4"  # of constants, which are int8 here
_MOST_RANK = 8
_SIGN = 128
_DAMAGED = "download or convert it again"


@dataclass(frozen=True, kw_only=True, eq=False)
class TfliteTensor:
    """A tensor; `data` are a constant's values, a view of the file.

    `scales` and `zeros` have one number, or one for each place of `axis`; none: not quantized.
    `unsigned`: the file has codes of uint8, which are those of int8 here, all of them 128 less.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    axis: int = 0
    data: NDArray[np.generic] | None = None
    unsigned: bool = False

    @property
    def quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return bool(self.scales)

    @property
    def scale(self) -> float:
        """The scale of a tensor that has one."""
        return self.scales[0]

    @property
    def zero(self) -> int:
        """The zero point of a tensor that has one."""
        return self.zeros[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class TfliteOperator:
    """An operator: `inputs` are tensors by number, -1 for an absent one."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: FileTable  # of the file

    def options(self, kind: str) -> FileTable:
        """Its options, which are of this kind: at their defaults where the file has none."""
        number, fields = schema.OPTIONS[kind]
        if self.table.integer("options_type") == number:
            found = self.table.table("options", fields)
            if found is not None:
                return found
        return replace(_DEFAULTS, fields=fields)


@dataclass(frozen=True, kw_only=True, eq=False)
class TfliteGraph:
    """A graph of a file."""

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: FileTable  # of the file


@dataclass(frozen=True, kw_only=True, eq=False)
class TfliteModel:
    """The graphs of a file, of which the first one is the model; and what its signatures call
    other ones.
    """

    graphs: tuple[TfliteGraph, ...]
    signatures: tuple[str, ...]  # that are not taken
    description: str


# A file whose table has no fields: what is read of it are defaults.
_DEFAULTS = root(b"\x0c\0\0\0TFL3\x04\0\x04\0\x04\0\0\0", {}, schema.IDENTIFIER)


def parse(content: bytes, where: str, most_elements: int) -> TfliteModel:
    """Read a file's bytes.

    Args:
        where: the file, with which each message begins.
        most_elements: of one tensor.

    Raises:
        InputError: no TFLite file, or a damaged one.
        UnsupportedError: one that no program can be made of.
    """
    try:
        return _ModelReader(where, most_elements).model(content)
    except NoTablesError as error:
        raise damaged(where, error) from error


def damaged(where: str, error: NoTablesError) -> InputError:
    """The error that says what is wrong with a file."""
    return InputError(f"{where}: not a TFLite file: {error}", hint=_DAMAGED)


@dataclass(frozen=True)
class _ModelReader:
    where: str
    most_elements: int

    def model(self, content: bytes) -> TfliteModel:
        file = root(content, schema.MODEL, schema.IDENTIFIER)
        if file.integer("version") != schema.VERSION:
            raise UnsupportedError(
                f"{self.where}: version {file.integer('version')} of the schema, not "
                f"{schema.VERSION}",
                hint="convert the model again by a converter of today",
            )
        tables = file.tables("subgraphs", schema.SUBGRAPH)
        if not tables:
            raise NoTablesError("it holds no graph")
        buffers = file.tables("buffers", schema.BUFFER)
        codes = [_name(each) for each in file.tables("operator_codes", schema.OPERATOR_CODE)]
        graphs = [self._graph(each, buffers, codes, len(content)) for each in tables]
        if not graphs[0].outputs or not graphs[0].operators:
            raise InputError(f"{self.where}: its graph computes nothing", hint=_DAMAGED)
        signatures = file.tables("signatures", schema.SIGNATURE)
        return TfliteModel(
            graphs=tuple(graphs),
            signatures=tuple(each.text("key") for each in signatures if each.integer("graph")),
            description=file.text("description"),
        )

    def _graph(
        self, table: FileTable, buffers: Sequence[FileTable], codes: Sequence[str], size: int
    ) -> TfliteGraph:
        tensors = tuple(
            self._tensor(each, number, buffers, size)
            for number, each in enumerate(table.tables("tensors", schema.TENSOR))
        )
        operators = tuple(
            self._operator(each, codes, len(tensors))
            for each in table.tables("operators", schema.OPERATOR)
        )
        inputs, outputs = table.integers("inputs"), table.integers("outputs")
        self._inside((*inputs, *outputs), len(tensors))
        return TfliteGraph(
            tensors=tensors, operators=operators, inputs=inputs, outputs=outputs, table=table
        )

    def _tensor(
        self, table: FileTable, number: int, buffers: Sequence[FileTable], size: int
    ) -> TfliteTensor:
        name = table.text("name") or f"tensor{number}"
        kind = table.integer("type")
        dtype = schema.TYPES[kind] if 0 <= kind < len(schema.TYPES) else f"type {kind}"
        shape = table.integers("shape")
        if any(extent < 0 for extent in shape) or len(shape) > _MOST_RANK:
            raise NoTablesError(f"tensor {name!r} has the shape {shape}")
        # -1 in its signature: an extent that a caller may change; the shape has what it is so far.
        if math.prod(shape) > self.most_elements:
            raise UnsupportedError(
                f"{self.where}: tensor {name!r} has {math.prod(shape)} elements, more than "
                f"{self.most_elements}"
            )
        if table.table("sparsity", {}) is not None:
            raise UnsupportedError(
                f"{self.where}: tensor {name!r} is stored sparse",
                hint="convert the model without sparsity",
            )
        scales, zeros, axis = self._quantization(table, name, shape)
        place = table.integer("buffer")
        if place >= len(buffers) and place:
            raise NoTablesError(f"tensor {name!r} lies in a buffer that is not there")
        data = self._data(buffers[place], name, dtype, shape, size) if place else None
        if dtype == _FOUR_BITS and data is not None:
            dtype = data.dtype.name
        found = TfliteTensor(
            name=name, shape=shape, dtype=dtype, scales=scales, zeros=zeros, axis=axis, data=data
        )
        return _signed(found) if dtype == "uint8" and scales else found

    def _quantization(
        self, table: FileTable, name: str, shape: tuple[int, ...]
    ) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        found = table.table("quantization", schema.QUANTIZATION)
        if found is None:
            return (), (), 0
        if found.integer("details_type"):
            raise UnsupportedError(
                f"{self.where}: tensor {name!r} is quantized in a way of its own (blocks)",
                hint="quantize by tensors or channels",
            )
        scales, zeros, axis = found.reals("scale"), found.integers("zero_point"), 0
        if not scales:
            return (), (), 0
        zeros = zeros or (0,) * len(scales)
        if len(zeros) == 1:
            zeros *= len(scales)
        if len(scales) > 1:
            axis = found.integer("axis")
            if not 0 <= axis < len(shape) or len(scales) != shape[axis]:
                raise NoTablesError(f"tensor {name!r} has {len(scales)} scales for {shape}")
        if len(zeros) != len(scales) or not all(0 < s < math.inf for s in scales):
            raise NoTablesError(f"tensor {name!r} has scales that are none")
        if any(abs(zero) > 1 << 16 for zero in zeros):
            raise NoTablesError(f"tensor {name!r} has zero points that are no codes")
        return scales, zeros, axis

    def _data(
        self, buffer: FileTable, name: str, dtype: str, shape: tuple[int, ...], size: int
    ) -> NDArray[np.generic] | None:
        """A constant's values; None of a tensor that is computed."""
        raw = buffer.array("data")
        offset = buffer.integer("offset")
        if raw is None and offset > 1:  # behind the tables, in files above 2 GiB
            count = buffer.integer("size")
            if offset + count > size:
                raise NoTablesError(f"tensor {name!r} lies behind the file's end")
            raw = np.frombuffer(buffer.buffer.data, np.uint8, count, offset)
        if raw is None or not raw.size:
            return None
        if dtype == _FOUR_BITS:
            if raw.size != (math.prod(shape) + 1) // 2:
                raise NoTablesError(f"tensor {name!r} has {raw.size} bytes for {shape} of {dtype}")
            return signed(unpacked(raw.view(np.uint8))[: math.prod(shape)]).reshape(shape)
        if dtype not in _DTYPES:
            raise UnsupportedError(
                f"{self.where}: tensor {name!r} holds {dtype}",
                hint=f"a program's constants are {', '.join(_DTYPES)}",
            )
        if raw.size != math.prod(shape) * _DTYPES[dtype].itemsize:
            raise NoTablesError(f"tensor {name!r} has {raw.size} bytes for {shape} of {dtype}")
        values = raw.view(np.uint8).tobytes()
        return np.frombuffer(values, _DTYPES[dtype].newbyteorder("<")).reshape(shape)

    def _operator(self, table: FileTable, codes: Sequence[str], count: int) -> TfliteOperator:
        code = table.integer("code")
        if code >= len(codes):
            raise NoTablesError("an operator has a code that is not there")
        inputs, outputs = table.integers("inputs"), table.integers("outputs")
        self._inside([each for each in inputs if each != -1], count)
        self._inside(outputs, count)
        return TfliteOperator(name=codes[code], inputs=inputs, outputs=outputs, table=table)

    def _inside(self, numbers: Sequence[int], count: int) -> None:
        if any(not 0 <= each < count for each in numbers):
            raise NoTablesError("a tensor is named that is not there")


def _name(code: FileTable) -> str:
    # Older files have the deprecated field alone, a byte, which stays at 127 for codes above it.
    number = max(code.integer("code"), code.integer("deprecated_code"))
    name = NAMES[number] if 0 <= number < len(NAMES) else f"operator {number}"
    return f"{name} {code.text('custom')}" if name == "CUSTOM" else name


def _signed(tensor: TfliteTensor) -> TfliteTensor:
    """Codes of uint8 as int8, which stand for the same numbers."""
    data = tensor.data
    if data is not None:
        data = np.bitwise_xor(data.view(np.uint8), np.uint8(_SIGN)).view(np.int8)
    zeros = tuple(zero - _SIGN for zero in tensor.zeros)
    return replace(tensor, dtype="int8", zeros=zeros, data=data, unsigned=True)


def apart(tensors: Sequence[TfliteTensor]) -> tuple[TfliteTensor, ...]:
    """The tensors with a name of its own for each, as ONNX wants them."""
    seen: set[str] = set()
    found = []
    for number, tensor in enumerate(tensors):
        name, count = tensor.name, number
        while name in seen:
            name, count = f"{tensor.name}:{count}", count + len(tensors)
        seen.add(name)
        found.append(replace(tensor, name=name))
    return tuple(found)
