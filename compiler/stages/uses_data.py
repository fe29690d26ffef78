"""The data set that a stage reads, as its key has it."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline import key_checks
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.factory_code import factory_code

if TYPE_CHECKING:
    from edgekiln.models.unchanged import State


def data_of_onnx(src: Artifact | None) -> str:
    """The data set that an ONNX model names as its own; "" if it names none."""
    if src is None or src.kind not in ("onnx", "onnx-int8"):
        return ""
    from edgekiln.compiler.onnx_model.io import load_model, read_meta
    from edgekiln.compiler.onnx_model.samples import own_data

    return own_data(read_meta(src.read(load_model)))


def used_data(spec: str, seed: int) -> Mapping[str, str]:
    """The content of a data set, and the code of the user's own tasks and transforms.

    Raises:
        EdgeKilnError: it cannot be loaded.
    """
    if not spec:
        return {}
    from edgekiln.models.data.sample_factory import references_in
    from edgekiln.models.unchanged import data_state, require_read

    # What the data's own factory gives is hashed, whatever its code is.
    own = [name for name in references_in(spec) if name != spec.partition("?")[0]]
    code = {"tasks": " ".join(map(factory_code, own))} if own else {}
    state = data_state(spec)
    key_checks.add(lambda: require_read(spec, state))
    return {"data": _data_sha256(spec, seed, state), **code}


# Every stage of a build asks for it, for its key; the data is read once.
@cache
def _data_sha256(spec: str, seed: int, _files: "State") -> str:
    from edgekiln.models.data import is_unlabelled, load
    from edgekiln.models.data.unlabelled import fingerprint

    return fingerprint(spec) if is_unlabelled(spec) else load(spec, seed).fingerprint
