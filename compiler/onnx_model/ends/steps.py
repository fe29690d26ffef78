"""Steps before and after a network, as users write them: "nv12=480x640", "resize", "top-k=5"."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekiln.models.column_indices import BUCKETS, HASH, KINDS
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import did_you_mean, whole_number

SOUND = "pcm"  # the source of what hears
WORDPIECE, BPE = TEXTS = "wordpiece", "bpe"  # the sources of what reads
SPECTRA = ("mel", "mfcc")  # what is made of sound
CTC, HYSTERESIS = "ctc", "hysteresis"

Size = tuple[int, int]  # height, width


@dataclass(frozen=True, kw_only=True)
class EndStep:
    """`size`, `count`, `number` and `spec` are what stands behind "=", where it takes that."""

    name: str
    text: str  # as it was written
    size: Size | None = None
    count: int | None = None
    number: float | None = None
    spec: str = ""

    def wrong(self, why: str, hint: str = "") -> ConfigError:
        """The error that names the step."""
        return ConfigError(f"step {self.text}: {why}", hint=hint)


@dataclass(frozen=True, kw_only=True)
class StepForm:
    """What stands behind a step's "=", if anything does."""

    argument: str = ""  # the field of `EndStep` that it becomes; "": there is none
    needed: bool = False


_MOST_PIXELS = 1 << 15  # along a side
_MOST_COUNTED = (1 << 31) - 1
_MOST_SCORE = 3.4028234e38  # of float32
_SIZE = StepForm(argument="size")
BEFORE: Mapping[str, StepForm] = {
    "pixels": _SIZE, "nv12": StepForm(argument="size", needed=True),
    "yuyv": StepForm(argument="size", needed=True),
    "crop": StepForm(argument="size", needed=True), "resize": StepForm(),
    "letterbox": StepForm(argument="count"), SOUND: StepForm(argument="count"),
    **{name: StepForm(argument="spec", needed=True) for name in SPECTRA},
    **{name: StepForm(argument="spec", needed=True) for name in (*TEXTS, *KINDS)},
}  # fmt: skip
AFTER: Mapping[str, StepForm] = {
    "softmax": StepForm(), "sigmoid": StepForm(), "argmax": StepForm(),
    "top-k": StepForm(argument="count", needed=True),
    "threshold": StepForm(argument="number", needed=True),
    HYSTERESIS: StepForm(argument="spec", needed=True),
    "detections": StepForm(argument="spec", needed=True), CTC: StepForm(argument="spec"),
}  # fmt: skip
# With these alone a model takes the samples of its data set, and the answer to them is the same.
_KEEPING = {"pixels"}, {"softmax"}
_HINTS = {
    "size": "height and width: {}=480x640",
    "count": "a whole number: {}=5",
    "number": "a number: {}=0.5",
    "detections": "what the boxes are, and options: {}=centers?score=0.3&iou=0.5",
    HYSTERESIS: "thresholds, and steps: {}=0.8?off=0.5&steps=3",
    CTC: "how it decodes, and options: {}=greedy?blank=0&labels=FILE",
    "mel": "how many bands, and options: {}=40?window=480&hop=320",
    "mfcc": "how many coefficients, and options: {}=13?mel=40",
    WORDPIECE: "the vocabulary, and options: {}=vocab.txt?length=128&bytes=1024",
    BUCKETS: "a column and its edges: {}=age:0,18,35,60",
    HASH: "a column and how many indices: {}=user:1000",
    BPE: "the vocabulary, and options: {}=tokenizer.json?length=128&bytes=1024",
}


def parsed(texts: Sequence[str], forms: Mapping[str, StepForm], option: str) -> tuple[EndStep, ...]:
    """Read the steps of an option, such as "before".

    Raises:
        ConfigError: an unknown step, or one whose argument does not fit.
    """
    return tuple(_step(text, forms, option) for text in texts)


def keep_samples(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether a model with these ends can be judged by the samples it was made for."""
    own, answers = _KEEPING
    return {*before} <= own and {*after} <= answers


def _step(text: str, forms: Mapping[str, StepForm], option: str) -> EndStep:
    name, equals, given = text.partition("=")
    if name not in forms:
        raise ConfigError(
            f"{option} = {text}: no such step", did_you_mean(name, forms, what="steps are")
        )
    form = forms[name]
    if not equals and not form.needed:
        return EndStep(name=name, text=text)
    if not form.argument:
        raise ConfigError(f"{option} = {text}: takes nothing behind {name}", hint=f"write {name}")
    step = _READERS[form.argument](EndStep(name=name, text=text), given)
    if step is None:
        hint = "write " + _HINTS.get(name, _HINTS.get(form.argument, "")).format(name)
        raise ConfigError(f"{option} = {text}: does not fit", hint=hint)
    return step


def _with_size(step: EndStep, text: str) -> EndStep | None:
    height, width = (whole_number(part, _MOST_PIXELS) for part in [*text.split("x"), ""][:2])
    if text.count("x") != 1 or not height or not width:
        return None
    return replace(step, size=(height, width))


def _with_count(step: EndStep, text: str) -> EndStep | None:
    count = whole_number(text, _MOST_COUNTED)
    return None if count is None else replace(step, count=count)


def finite(text: str) -> float | None:
    """The number that a text says, if float32 holds it."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) <= _MOST_SCORE else None


def _with_number(step: EndStep, text: str) -> EndStep | None:
    number = finite(text)
    return None if number is None else replace(step, number=number)


def _with_spec(step: EndStep, text: str) -> EndStep | None:
    return replace(step, spec=text) if text else None


_READERS: Mapping[str, Callable[[EndStep, str], EndStep | None]] = {
    "size": _with_size, "count": _with_count, "number": _with_number,
    "spec": _with_spec,
}  # fmt: skip
