"""Weights that lie in a file beside the model, as PyTorch exports them by default."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgekiln.compiler.onnx_model.nested import tensors_of
from edgekiln.runtime.errors import InputError, UnsupportedError
from edgekiln.runtime.limits import MODELS, opened

if TYPE_CHECKING:
    import onnx

_MOST_BYTES = 2**31 - 1  # of one message in protobuf's encoding
_HINT = "it must lie beside the model, under the name that the model has for it"


def embed(model: "onnx.ModelProto", home: Path, where: str) -> int:
    """Read, in place, every weight that lies in another file; how many there are.

    A file is named relative to the model's folder, and looked for in there alone: whoever made the
    model chose the name.

    Args:
        home: the folder of the model.
        where: the model's file, to begin messages with.

    Raises:
        InputError: such a file is missing, shorter than the weight, or lies elsewhere.
        UnsupportedError: a model that does not fit into one file.
    """
    import onnx

    outside = [t for t in tensors_of(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    total = model.ByteSize()
    for tensor in outside:
        content = _content(tensor, home, where)
        total += len(content)
        MODELS.check(total, where)
        if total > _MOST_BYTES:
            raise UnsupportedError(
                f"{where}: with its weights it has more than {_MOST_BYTES} bytes",
                hint="no device that programs are built for takes a model of that size",
            )
        tensor.raw_data = content
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return len(outside)


def _content(tensor: "onnx.TensorProto", home: Path, where: str) -> bytes:
    # The keys are those of onnx.proto (`TensorProto.external_data`); numbers are written as text,
    # and without a length the weight reaches to the end of the file.
    said = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = (
        _number(said.get(key, ""), tensor.name, where) for key in ("offset", "length")
    )
    with _file(said.get("location", ""), home, tensor.name, where) as stream:
        size, begin = os.fstat(stream.fileno()).st_size, offset or 0
        wanted = size - begin if length is None else length
        if not 0 <= wanted <= size - begin:
            raise InputError(
                f"{where}: weight {tensor.name!r} reaches over the end of {said['location']!r}",
                hint="copy both files again, or export the model again",
            )
        stream.seek(begin)
        return stream.read(wanted)


def _number(text: str, name: str, where: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):  # < 2⁶³, which `seek` takes
        raise InputError(f"{where}: weight {name!r} lies at {text[:40]!r}", hint="export it again")
    return int(text)


def _file(location: str, home: Path, name: str, where: str) -> AbstractContextManager[BinaryIO]:
    path = home / location
    inside = location and not Path(location).is_absolute() and ".." not in Path(location).parts
    # `resolve` follows symbolic links, which may lead out of the folder, too.
    if not inside or not path.resolve().is_relative_to(home.resolve()):
        raise InputError(
            f"{where}: weight {name!r} lies outside of the model's folder: {location[:80]!r}",
            hint="put its file beside the model, or make one file of both: "
            "onnx.save(onnx.load('in.onnx'), 'out.onnx')",
        )
    return opened(path, MODELS, _HINT)
