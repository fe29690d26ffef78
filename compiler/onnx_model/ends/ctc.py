"""Scores of each step of a sequence become the symbols that it says: CTC's greedy decoding.

Source: Graves et al., Connectionist Temporal Classification (ICML 2006), section 3.2.1, "best path
decoding": of each step the likeliest class; repetitions become one, then blanks go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekiln.compiler.onnx_model.ends.answers import GivenOutput
from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import AFTER, CTC, EndStep, parsed
from edgekiln.models.spec import join, split
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import INPUTS, read_file
from edgekiln.runtime.typed import did_you_mean, whole_number

_DECODERS = ("greedy",)
_LAYOUTS = {"NTC": 2, "NCT": 1}  # the axis of the classes in each
_KEYS = ("blank", "labels", "layout", "space")
_MOST_CLASSES = 1 << 24
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, kw_only=True)
class CtcOptions:
    """What stands behind "ctc="."""

    blank: int  # the class that is nothing; below 0: counted from the end
    labels: Path | None  # names of the classes, a line each
    axis: int  # of the classes
    space: bool  # the last class is a space, which the file of names leaves out


def read(step: EndStep) -> CtcOptions:
    """Raises ConfigError: an unknown decoder or option, or one that does not fit."""
    name, given = split(step.spec or _DECODERS[0])
    if name not in _DECODERS:
        raise step.wrong(
            f"no decoder {name!r}", hint=did_you_mean(name, _DECODERS, what="decoders are")
        )
    for key in given:
        if key not in _KEYS:
            raise step.wrong(
                f"no option {key!r}", hint=did_you_mean(key, _KEYS, what="options are")
            )
    blank = given.get("blank", "0")
    number = whole_number(blank.removeprefix("-"), _MOST_CLASSES)
    if number is None or blank == "-0":
        raise step.wrong(
            f"blank={blank} does not fit", hint="give a class's number, or -1: the last"
        )
    layout, space = given.get("layout", "NTC"), given.get("space", "false")
    if layout not in _LAYOUTS:
        raise step.wrong(
            f"layout={layout} does not fit",
            hint="scores are (N, steps, classes), NTC, or (N, classes, steps), NCT",
        )
    if space not in ("true", "false"):
        raise step.wrong(f"space={space} does not fit", hint="give true or false")
    if space == "true" and not given.get("labels"):
        raise step.wrong(
            "space=true without names", hint="it says what labels=FILE leaves out: give that, too"
        )
    return CtcOptions(
        blank=-number if blank.startswith("-") else number,
        labels=Path(given["labels"]) if given.get("labels") else None,
        axis=_LAYOUTS[layout], space=space == "true",
    )  # fmt: skip


def files_of(after: Sequence[str]) -> list[Path]:
    """The files that steps read. Raises InputError: one is not there."""
    options = [read(step) for step in parsed(after, AFTER, "after") if step.name == CTC]
    files = [each.labels for each in options if each.labels is not None]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file", hint="give names of classes, a line each")
    return files


def without_folders(text: str) -> str:
    """A step as a model's file keeps it: where its names lay is no one's business."""
    name, equals, spec = text.partition("=")
    if name != CTC or not equals:
        return text
    decoder, options = split(spec)
    if "labels" in options:
        options["labels"] = Path(options["labels"]).name
    return name + equals + join(decoder, options)


def decode(
    end: GraphEnd, step: EndStep, scores: GivenOutput, labels: tuple[str, ...]
) -> tuple[list[GivenOutput], tuple[str, ...]]:
    """Write the way from scores to symbols and how many they are, which are returned with the names
    of the classes.

    Args:
        labels: the classes that the model names; of a blank, too, or not.

    Raises:
        ConfigError: the output is none of such a network.
        InputError: the names cannot be read.
    """
    options = read(step)
    if not scores.is_known or len(scores.shape) != 3:
        raise step.wrong(
            f"output {scores.name!r} is {scores.dtype} {list(scores.shape)}",
            hint="it takes float scores of a fixed number of steps, (N, steps, classes), or "
            "layout=NCT; what differs is fixed by --shape",
        )
    classes, steps = int(scores.shape[options.axis]), scores.shape[3 - options.axis]
    blank = options.blank + classes * (options.blank < 0)
    if not 0 <= blank < classes:
        raise step.wrong(
            f"blank={options.blank} of {classes} classes",
            hint=f"it is a class's number, 0 to {classes - 1}, or -1: the last",
        )
    names = _named(step, options, labels, classes, blank)
    best = end.op("ArgMax", scores.name, what="path", axis=options.axis, keepdims=0)
    given = [end.facts.free(name) for name in ("symbols", "length")]
    end.own("CtcCollapse", best, result=given[0], blank=blank)
    end.own("CountedSymbols", given[0], result=given[1])
    return [
        GivenOutput(name=given[0], dtype="int64", shape=(scores.shape[0], steps)),
        GivenOutput(name=given[1], dtype="int64", shape=scores.shape[:1]),
    ], names


def _named(
    step: EndStep, options: CtcOptions, labels: tuple[str, ...], classes: int, blank: int
) -> tuple[str, ...]:
    """A name for each class, that of the blank empty; none where nobody says any."""
    if options.labels is not None:
        labels = (*_lines(options.labels), *[" "] * options.space)
    if not labels:
        return ()
    if len(labels) == classes - 1:
        return (*labels[:blank], "", *labels[blank:])
    if len(labels) != classes:
        raise step.wrong(
            f"{len(labels)} names of {classes} classes",
            hint="give labels=FILE with a line for each class, or for each but the blank; "
            "space=true says that the last class is a space, for which there is no line",
        )
    return (*labels[:blank], "", *labels[blank + 1 :])


def _lines(path: Path) -> list[str]:
    try:
        text = read_file(path, INPUTS, hint="give names of classes, a line each").decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is no text in UTF-8", hint="give names of classes, a line each"
        ) from error
    lines = text.removeprefix(_BYTE_ORDER_MARK).removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]
