"""What accuracy control has done, as a model's file and reports keep it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING

from edgekiln.models.tasks.tally import Measured
from edgekiln.runtime import codec
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.text import counted

if TYPE_CHECKING:
    import onnx

_KEY = "edgekiln.ladder"  # among the model's properties
# The steps that choose layers.
IN_FLOAT, IN_16_BITS = "layers in float", "layers in 16 bits"
WHOLE, ALL_WHOLE = "layers with weights of 8 bits", "weights of 8 bits"


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """What becomes of the model's outputs when one layer alone is integer, or float."""

    name: str
    op: str
    macs: int
    sqnr_db: float
    scores: Mapping[str, float] = field(default_factory=dict)  # by label; {} without labels
    # Percentage points of a share, else percent; null where there is no percent of 0.
    lost: Mapping[str, float | None] = field(default_factory=dict)
    least_db: float | None = None  # SQNR of the output that keeps least


@dataclass(frozen=True, kw_only=True)
class SensitivityReport:
    """Every layer of a model, the most sensitive first; numbers by the label of a score."""

    mode: str  # "only": the layer alone is integer; "all-but": it alone is float
    samples: int  # of the validation split
    sqnr_db: float  # with all layers integer
    float_scores: Mapping[str, float]
    loss_units: Mapping[str, str]  # what `lost` counts in
    layers: tuple[LayerSensitivity, ...]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step: what it brought and what it costs.

    `lost` is by the label of a score, in percentage points of a share, else percent of what the
    float model has, null where that is 0; below 0 the int8 model is better.
    """

    name: str
    kept: bool
    sqnr_db: float
    scores: Mapping[str, float]
    lost: Mapping[str, float | None]
    weight_bytes: int  # of all weights as they are stored
    float_layers: tuple[str, ...] = ()
    float_macs: int = 0  # multiply-accumulates of these, of one sample
    wide_layers: tuple[str, ...] = ()  # whose activations have 16 bits
    wide_macs: int = 0
    whole_layers: tuple[str, ...] = ()  # whose weights have 8 bits, where others have 4
    least_db: float | None = None  # SQNR of the output that keeps least
    sure_db: float | None = None  # which each output keeps of nearly all other samples, too


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """All steps, and why the last one is the last."""

    limits: Mapping[str, float]  # what may be lost, by the label of a score
    min_sqnr_db: float | None = None  # what each output has to keep
    samples: int  # that judged
    helping: int = 0  # of them, which calibrated, too: where few validate
    met: bool
    chosen: str  # the name of the step that the model is from
    rungs: tuple[Rung, ...]
    float_scores: Mapping[str, float]  # of the float model, by label
    sensitivity: tuple[LayerSensitivity, ...] = ()  # of each layer, quantized alone; as it is

    @property
    def float_layers(self) -> tuple[str, ...]:
        """The layers that stay float in the model that was chosen."""
        return self._of_chosen.float_layers

    @property
    def wide_layers(self) -> tuple[str, ...]:
        """The layers whose activations have 16 bits in the model that was chosen."""
        return self._of_chosen.wide_layers

    def signal_db(self, rung: Rung) -> float:
        """What a step keeps: of the worst output where each is held to a limit, else of all."""
        least_db = rung.least_db if self.min_sqnr_db is not None else None
        return rung.sqnr_db if least_db is None else least_db

    @property
    def whole_layers(self) -> tuple[str, ...]:
        """Those whose weights have 8 bits in the model that was chosen, where others have 4."""
        return self._of_chosen.whole_layers

    @property
    def _of_chosen(self) -> Rung:
        return next(rung for rung in self.rungs if rung.name == self.chosen)


def finite_losses(lost: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: null."""
    return {label: value if isfinite(value) else None for label, value in lost.items()}


def kept_until(chosen: str, rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """The steps of which the chosen one is the last that is kept: those behind it are no part of
    the model.
    """
    end = [rung.name for rung in rungs].index(chosen)
    return tuple(
        replace(rung, kept=number == end or (rung.kept and number < end))
        for number, rung in enumerate(rungs)
    )


def ladder_notes(
    ladder: Ladder, float_scores: Sequence[Measured], *, judged_by: bool = True
) -> list[str]:
    """A sentence for each step, for people.

    Args:
        float_scores: of the float model: how its scores are shown.
        judged_by: whether each says on which samples.
    """
    samples = f" {judged_on(ladder.samples, ladder.helping)}" if judged_by else ""
    judged = [each for each in float_scores if each.label in ladder.limits]
    names = ", ".join(each.label for each in judged)
    held = " ".join(f"{limit:g}" for limit in dict.fromkeys(ladder.limits.values()))
    limits = [f"max-drop {held}"] if judged else []
    if ladder.min_sqnr_db is not None:
        limits.append(f"min-sqnr {ladder.min_sqnr_db:g}")
    notes = []
    for rung in ladder.rungs:
        lost = ", ".join(
            f"{each.metric.shown(rung.scores[each.label])} ({_lost(each, rung)})" for each in judged
        )
        shown = [*([f"{names} {lost}"] if judged else []), _signal(rung, ladder)]
        notes.append(
            f"{', '.join([*limits, _step(rung)])}: {', '.join(shown)}{samples}"
            + ("" if rung.kept else ", undone")
        )
    return notes


def judged_on(samples: int, helping: int) -> str:
    """What has judged, for people.

    Args:
        helping: of the samples, which calibrated.
    """
    count = samples - helping
    validating = f"on {count:,} validation {'sample' if count == 1 else 'samples'}"
    return f"{validating} and {helping:,} that calibrate" if helping else validating


def _signal(rung: Rung, ladder: Ladder) -> str:
    """What the outputs keep, and where each is held to a limit what is sure of that."""
    kept = f"SQNR {ladder.signal_db(rung):.1f} dB"
    held = ladder.min_sqnr_db is not None and rung.sure_db is not None
    return f"{kept} ({rung.sure_db:.1f} for sure)" if held else kept


def _step(rung: Rung) -> str:
    """What a step does, with how many layers it chose."""
    if rung.name == WHOLE:
        return f"{counted(len(rung.whole_layers), 'layer')} with weights of 8 bits"
    if rung.name not in (IN_FLOAT, IN_16_BITS):
        return rung.name
    wide = f"{counted(len(rung.wide_layers), 'layer')} in 16 bits"
    if rung.name == IN_16_BITS:
        return wide
    floats = f"{counted(len(rung.float_layers), 'layer')} in float"
    return f"{floats}, {len(rung.wide_layers):,} in 16 bits" if rung.wide_layers else floats


def _lost(score: Measured, rung: Rung) -> str:
    """How a score differs from the float model's."""
    lost = rung.lost[score.label]
    if lost is None:
        return "the float model has 0"
    return f"{0.0 - lost:+.2f} {score.metric.loss_unit}"


def write_ladder(model: "onnx.ModelProto", ladder: Ladder) -> None:
    """Keep it among the properties of the int8 model, which has none yet."""
    entry = model.metadata_props.add()
    entry.key, entry.value = _KEY, codec.to_json(ladder)


def read_ladder(model: "onnx.ModelProto") -> Ladder | None:
    """What the model's file says; None where no limit was set when it was made.

    Raises:
        InputError: it does not parse.
    """
    found = [entry.value for entry in model.metadata_props if entry.key == _KEY]
    try:
        return codec.decode(Ladder, codec.loads(found[0])) if found else None
    except ValueError as error:
        raise InputError(
            f"the model's {_KEY} is damaged: {error}", hint="quantize the float model again"
        ) from error
