"""Steps as they were written, before there is a model: what is wrong, and what they read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgekiln.compiler.onnx_model.ends import (
    columns,
    ctc,
    detector_options,
    hysteresis,
    sound,
    text,
)
from edgekiln.compiler.onnx_model.ends.steps import (
    AFTER,
    BEFORE,
    CTC,
    HYSTERESIS,
    SPECTRA,
    TEXTS,
    EndStep,
    parsed,
)
from edgekiln.models.column_indices import KINDS
from edgekiln.runtime.manifest import DETECTIONS

# What reads the options of a step.
_READERS: Mapping[str, Callable[[EndStep], object]] = {
    **dict.fromkeys(TEXTS, text.read), **dict.fromkeys(SPECTRA, sound.read),
    **dict.fromkeys(KINDS, columns.read),
    DETECTIONS: detector_options.read, CTC: ctc.read, HYSTERESIS: hysteresis.read,
}  # fmt: skip


def check(before: Sequence[str], after: Sequence[str]) -> None:
    """Raises ConfigError: an unknown step, or an option that does not fit."""
    for step in (*parsed(before, BEFORE, "before"), *parsed(after, AFTER, "after")):
        if step.name in _READERS:
            _READERS[step.name](step)


def files_of(before: Sequence[str], after: Sequence[str]) -> list[Path]:
    """The files that steps read. Raises InputError: one is not there."""
    return [*text.files_of(before), *detector_options.files_of(after), *ctc.files_of(after)]
