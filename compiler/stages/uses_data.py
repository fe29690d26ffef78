"""The data set that a stage reads, as its key has it."""

from collections.abc import Mapping
from functools import cache

from edgekiln.compiler.pipeline.artifact import Artifact


def data_of_onnx(src: Artifact | None) -> str:
    """The data set that an ONNX model names as its own; "" if it names none."""
    if src is None or src.kind not in ("onnx", "onnx-int8"):
        return ""
    from edgekiln.compiler.onnx_model.io import load_model, read_meta
    from edgekiln.compiler.onnx_model.samples import own_data

    return own_data(read_meta(src.read(load_model)))


def used_data(spec: str, seed: int) -> Mapping[str, str]:
    """The content of a data set. Raises EdgeKilnError when it cannot be loaded."""
    return {"data": _data_sha256(spec, seed)} if spec else {}


# Every stage of a build asks for it, for its key; the data is read once.
@cache
def _data_sha256(spec: str, seed: int) -> str:
    from edgekiln.models.data import is_unlabelled, load
    from edgekiln.models.data.unlabelled import fingerprint

    return fingerprint(spec) if is_unlabelled(spec) else load(spec, seed).fingerprint
