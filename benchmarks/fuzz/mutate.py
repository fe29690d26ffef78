"""Ways to damage a file: its bytes, the words of a text, the fields of an ONNX model."""

import io
import random
import re
import zipfile
from collections.abc import Callable, Sequence

import onnx
from onnx import TensorProto

# Small ones, and those at and beside the limits of types.
_NUMBERS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, -(2**31), 2**62)
_REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
_WORDS = (
    "nan", "inf", "-1", "0", "1e999", "''", '""', "[]", "{}", "true", "null", "9" * 23, "\u0000",
    "../..", "/dev/zero", "é", "[[", "]]", "=",
)  # fmt: skip


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Cut, overwritten, repeated or lengthened at a few places."""
    data = bytearray(content)
    # Mostly one fault, for one hides others behind it.
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                del data[at:]
            case 1 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 2:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
            case 3:
                del data[at : at + rng.choice((1, 4, 64, 512))]
            case 4:
                end = at + rng.choice((4, 64, 512))
                data[at:at] = data[at:end]
            case _:
                size = rng.choice((1, 2, 4, 8))
                # Negative ones as two's complements.
                number = rng.choice(_NUMBERS) % (1 << 8 * size)
                data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
    return bytes(data)


def damaged_text(content: bytes, rng: random.Random) -> bytes:
    """Words exchanged, left out, or replaced by unusual ones; now and then bytes as well."""
    if rng.random() < 0.1:
        return damaged_bytes(content, rng)
    # With what lies between the words, so that all of it can be put together again.
    parts = re.split(rb"(\W+)", content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(parts))
        match rng.randrange(3):
            case 0:
                parts[at] = rng.choice(_WORDS).encode()
            case 1:
                parts[at] = b""
            case _:
                parts[at] = rng.choice(parts)
    return b"".join(parts)


def damaged_archive(content: bytes, rng: random.Random) -> bytes:
    """A zip file with a damaged member, whose checksum is right; now and then its bytes."""
    if rng.random() < 0.1:
        return damaged_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    name = rng.choice(sorted(members))
    damage = damaged_text if name.endswith(".json") else damaged_bytes
    members[name] = damage(members[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return stream.getvalue()


def damaged_model(content: bytes, rng: random.Random) -> bytes:
    """An ONNX model with some of its fields changed; now and then its bytes as well."""
    if rng.random() < 0.15:
        return damaged_bytes(content, rng)
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_CHANGES)(model.graph, rng)
    if rng.random() < 0.05 and model.opset_import:
        rng.choice(model.opset_import).version = rng.choice((0, 1, 6, 7, 9, 11, 13, 24, 99))
    changed: bytes = model.SerializeToString()
    return changed


def _attribute(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Another number in an attribute."""
    attributes = [attr for node in graph.node for attr in node.attribute]
    if not attributes:
        return
    attr = rng.choice(attributes)
    if attr.ints:
        attr.ints[rng.randrange(len(attr.ints))] = rng.choice(_NUMBERS)
        if rng.random() < 0.3:
            attr.ints.append(rng.choice(_NUMBERS))
    elif attr.type == onnx.AttributeProto.FLOAT:
        attr.f = rng.choice(_REALS)
    elif attr.type == onnx.AttributeProto.STRING:
        attr.s = rng.choice((b"", b"SAME_UPPER", b"linear", b"\xff", b"nearest"))
    else:
        attr.i = rng.choice(_NUMBERS)


def _extent(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Another extent of a declared shape, or of a constant."""
    values = [*graph.input, *graph.output, *graph.value_info]
    shapes = [value.type.tensor_type.shape.dim for value in values]
    extents = [dim for shape in shapes for dim in shape]
    if extents and rng.random() < 0.6:
        rng.choice(extents).dim_value = rng.choice(_NUMBERS)
    elif graph.initializer:
        tensor = rng.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_NUMBERS)


def _type(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Another element type."""
    kinds = [kind for kind in TensorProto.DataType.values() if kind]
    if graph.initializer and rng.random() < 0.5:
        rng.choice(graph.initializer).data_type = rng.choice(kinds)
    elif ends := [*graph.input, *graph.output]:
        value = rng.choice(ends)
        value.type.tensor_type.elem_type = rng.choice(kinds)


def _operator(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Another operator, another domain, a node twice or not at all, nodes in another order."""
    if not graph.node:
        return
    at = rng.randrange(len(graph.node))
    match rng.randrange(5):
        case 0:
            graph.node[at].op_type = rng.choice(graph.node).op_type
        case 1:
            graph.node[at].domain = rng.choice(("com.microsoft", "ai.onnx.ml", "nobody.knows"))
        case 2:
            graph.node.append(graph.node[at])
        case 3:
            del graph.node[at]
        case _:
            nodes = list(graph.node)
            rng.shuffle(nodes)
            del graph.node[:]
            graph.node.extend(nodes)


def _edge(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Another operand, none, or one more; another name of a result."""
    if not graph.node:
        return
    node, other = rng.choice(graph.node), rng.choice(graph.node)
    names = [*node.input, *other.output, *(tensor.name for tensor in graph.initializer), "", "zzz"]
    match rng.randrange(4):
        case 0 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 1 if node.input:
            del node.input[rng.randrange(len(node.input))]
        case 2:
            node.input.append(rng.choice(names))
        case _ if node.output:
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
        case _:
            pass


def _content(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Other bytes of a constant: too few, too many, unusual numbers."""
    if not graph.initializer:
        return
    tensor = rng.choice(graph.initializer)
    raw = tensor.raw_data
    tensor.raw_data = rng.choice((raw[:-1], raw + b"\x00", b"", damaged_bytes(raw, rng)))


def _ends(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Inputs and outputs left out, doubled, or of another name."""
    ends = rng.choice((graph.input, graph.output))
    if not ends:
        return
    match rng.randrange(3):
        case 0:
            del ends[rng.randrange(len(ends))]
        case 1:
            ends.append(rng.choice(ends))
        case _:
            rng.choice(ends).name = rng.choice(("", "zzz", ends[0].name))


# Twice: what is likelier.
_CHANGES: Sequence[Callable[[onnx.GraphProto, random.Random], None]] = (
    _attribute, _attribute, _extent, _type, _operator, _edge, _edge, _content, _ends,
)  # fmt: skip
