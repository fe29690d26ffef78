"""How every session of ONNX Runtime is opened."""

from typing import Any

_FATAL_ONLY = 4  # severity, from 0, verbose. Errors arrive as exceptions


def session_options() -> Any:  # ONNX Runtime ships no types
    """`onnxruntime.SessionOptions` without warnings, and without threads that spin while idle."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
