"""A model in the words of a newer operator set."""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import own_functions, resize
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx


def raised(model: "onnx.ModelProto", opset: int, wanted: int) -> "onnx.ModelProto":
    """The model, which is of operator set `opset`, in those of `wanted`; its metadata stay.

    Raises:
        UnsupportedError: ONNX knows no way.
    """
    import onnx

    try:
        made = onnx.version_converter.convert_version(model, wanted)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedError(
            f"opset {opset} cannot be raised to {wanted}: {reason}",
            hint=f"export the model with opset {wanted} or newer",
        ) from error
    if opset < resize.WAYS_SINCE:
        resize.say_the_old_way(made)
    known = [each for each in made.opset_import if each.domain not in own_functions.DOMAINS]
    made.ir_version = max(made.ir_version, onnx.helper.find_min_ir_version_for(known))
    own_functions.declare(made)
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    return made
