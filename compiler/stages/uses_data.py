"""The data set that a stage reads, as its key has it."""

from collections.abc import Mapping
from functools import cache

from edgekiln.compiler.pipeline.artifact import Artifact


def data_of_onnx(src: Artifact | None) -> str:
    """The data set that an ONNX model names as its own; "" if it names none."""
    if src is None or src.kind not in ("onnx", "onnx-int8"):
        return ""
    from edgekiln.compiler.onnx_model.io import load_model, read_meta

    return read_meta(src.read(load_model)).data


def used_data(spec: str, seed: int) -> Mapping[str, str]:
    """The content of a data set. Raises EdgeKilnError when it cannot be loaded."""
    return {"data": _data_sha256(spec, seed)} if spec else {}


@cache
def _data_sha256(spec: str, seed: int) -> str:
    from edgekiln.models.data import load

    return load(spec, seed).fingerprint
