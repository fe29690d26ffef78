"""The last step of a detector: what was found, in pixels of the frame."""

from collections.abc import Sequence

import numpy as np

from edgekiln.compiler.onnx_model.detection_functions import DOMAIN, RECORD
from edgekiln.compiler.onnx_model.ends import detector_options
from edgekiln.compiler.onnx_model.ends.answers import GivenOutput
from edgekiln.compiler.onnx_model.ends.boxes import BoxReader
from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.pixels import FramePlace
from edgekiln.compiler.onnx_model.ends.steps import EndStep, Size
from edgekiln.runtime.manifest import DETECTIONS

STEP = DETECTIONS  # so are its results called


def detect(
    end: GraphEnd, step: EndStep, outputs: Sequence[GivenOutput], *, labels: tuple[str, ...],
    size: Size | None, place: FramePlace | None,
) -> tuple[list[GivenOutput], tuple[str, ...]]:  # fmt: skip
    """Write the way from a network's outputs to records and their count, which are returned with
    the names of the classes that records number.

    Args:
        labels: the classes that the model names.
        size: of the network's picture; None: it takes none.
        place: where that picture lies in the frame; None: it is the frame.

    Raises:
        ConfigError: the outputs are not those of such a detector.
    """
    options = detector_options.read(step)
    if not outputs:
        raise step.wrong(
            "no output is of floats and of a fixed shape",
            hint="a detector gives (N, boxes, 4 + classes), or boxes and scores",
        )
    reader = BoxReader(end=end, step=step, options=options, size=size, labels=len(labels))
    found = reader.read(outputs)
    shares = options.units == "shares"
    if place is None and size is not None:
        place = FramePlace(frame=size)
    factor, offset = np.ones(4), np.zeros(4)
    low, high = np.full(4, -np.inf), np.full(4, np.inf)
    if shares and size is None:
        low, high = np.zeros(4), np.ones(4)
    elif place is not None and size is not None:
        of_numbers = size if shares else (1, 1)
        factor = _edges([a * b for a, b in zip(place.factor, of_numbers, strict=True)])
        offset, low, high = _edges(place.offset), np.zeros(4), _edges(place.frame)
    # More of a class than are told in all are never told, and cover none that is.
    per_class = min(options.per_class or found.count, found.count, options.most)
    most = min(options.most, per_class * (1 if options.together else found.classes))
    numbers = {
        "overlap": np.array([options.overlap]), "least": np.array([options.score]),
        "factor": factor, "offset": offset, "low": low, "high": high,
    }  # fmt: skip
    constants = [end.constant(value.astype(np.float32), name) for name, value in numbers.items()]
    names = [end.facts.free(name) for name in ("detections", "count")]
    end.op(
        "DetectionsTogether" if options.together else "DetectionsByClass",
        found.boxes, found.scores, *constants, result=names[0], most=[most],
        per_class=[per_class],
    )  # fmt: skip
    end.nodes[-1].domain = DOMAIN
    end.op("CountedDetections", names[0], result=names[1])
    end.nodes[-1].domain = DOMAIN
    batch = outputs[0].shape[0]
    if len(labels) > found.classes and options.background is not None:  # it is named, too
        labels = labels[1:] if options.background == 0 else labels[:-1]
    given = [
        GivenOutput(name=names[0], dtype="float32", shape=(batch, most, RECORD)),
        GivenOutput(name=names[1], dtype="int64", shape=(batch,)),
    ]
    return given, labels


def _edges(of_axes: Sequence[float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Rows and columns as left, top, right, bottom."""
    rows, columns = of_axes
    return np.array([columns, rows, columns, rows], np.float64)
