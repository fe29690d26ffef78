"""The corrections of accuracy control: each makes of a scheme one that costs the program nothing.

They stand in their order in `CORRECTIONS`: what changes the float model first, for ranges depend on
it, then ranges, then weights, then biases, which take up what is left.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import rewriting
from edgekiln.compiler.quantization.bias_correction import correct_biases
from edgekiln.compiler.quantization.calibration import Calibration
from edgekiln.compiler.quantization.channel_peaks import channel_peaks, channel_samples
from edgekiln.compiler.quantization.equalize import clipped, equalize
from edgekiln.compiler.quantization.learned_rounding import learn_rounding
from edgekiln.compiler.quantization.local_ranges import best_ranges
from edgekiln.compiler.quantization.migrate import migrate, migrations
from edgekiln.compiler.quantization.scheme import Scheme, observed_tensors, with_biases
from edgekiln.compiler.quantization.weight_scales import mse_scales, rounded_anew

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.model_inputs import Inputs

_PEAK_SAMPLES = 128
# Of a walk through both models, whose widest layers hold a few copies of their values.
_WALK_BYTES, _COPIES = 2**30, 6
_LEAST_SAMPLES, _MOST_SAMPLES = 16, 256


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What corrections work with."""

    calibration: Calibration
    seed: int

    def advance(self, what: str) -> Callable[[int, int], None]:
        """Progress that says what is done."""
        return lambda done, total: self.calibration.advance(done, total, what)

    def walk_calls(self, model: "onnx.ModelProto") -> "list[Inputs]":
        """Take as many samples as a walk through a model has memory for."""
        facts = rewriting.facts_of(model)
        shapes = (facts.fixed(name) for name in facts.makers)
        widest = max((prod(shape) for shape in shapes if shape is not None), default=1)
        fitting = _WALK_BYTES // (4 * _COPIES * widest)
        return self.calibration.walk_calls(max(_LEAST_SAMPLES, min(_MOST_SAMPLES, fitting)))


# Returns the scheme as it was where there is nothing to correct.
Correction = Callable[[Scheme, Workbench], Scheme]


def equalized(scheme: Scheme, bench: Workbench) -> Scheme:
    """Channels balanced across layers."""
    model = _copy(scheme.model)
    axes = dict.fromkeys(clipped(model), 1)
    peaks = channel_peaks(model, axes, bench.calibration.calls(_PEAK_SAMPLES))
    return _recalibrated(scheme, model, bench) if equalize(model, peaks) else scheme


def migrated(scheme: Scheme, bench: Workbench) -> Scheme:
    """The scale of activations moved into weights."""
    model = _copy(scheme.model)
    found = migrations(model, scheme.floats)
    tensors = [each.tensor for each in found]
    samples = channel_samples(model, tensors, bench.calibration.calls(_PEAK_SAMPLES))
    count, made = migrate(model, found, samples)
    spared = replace(scheme, floats=scheme.floats | made)
    return _recalibrated(spared, model, bench) if count else scheme


def with_best_ranges(scheme: Scheme, bench: Workbench) -> Scheme:
    """Each range by the method that its readers like best."""
    tensors = observed_tensors(scheme.model, scheme.nodes)
    return replace(scheme, ranges=best_ranges(scheme.model, tensors, bench.calibration))


def with_mse_weights(scheme: Scheme, bench: Workbench) -> Scheme:  # noqa: ARG001
    """The scales of weights by their mean squared error."""
    quantized, bits = scheme.in_parts(), scheme.weight_bits
    found = rounded_anew(scheme.model, quantized, mse_scales, bits)
    # Those of blocks are that already.
    weights = {name: each for name, each in found.items() if not scheme.has_blocks(name)}
    return replace(scheme, weights=weights)


def bias_corrected(scheme: Scheme, bench: Workbench) -> Scheme:
    """The mean error of each layer in its bias."""
    ready = replace(scheme, model=with_biases(scheme.model))
    quantized = ready.in_parts()
    calls = bench.walk_calls(ready.model)
    advance = bench.advance("correcting biases")
    changed = correct_biases(ready.model, quantized, calls, advance)
    return ready.with_weights_of(quantized) if changed else scheme


def with_learned_rounding(scheme: Scheme, bench: Workbench) -> Scheme:
    """Weights rounded up or down so that layers give what the float ones do."""
    ready = replace(scheme, model=with_biases(scheme.model))
    quantized = ready.in_parts()
    calls = bench.walk_calls(ready.model)
    advance = bench.advance("learning how to round")
    learn_rounding(
        ready.model, quantized, calls, bench.seed, advance, ready.weight_bits, ready.has_blocks
    )
    return ready.with_weights_of(quantized)


ROUNDING = "learned rounding"
# By the name that reports have for it.
CORRECTIONS: Mapping[str, Correction] = {
    "equalization": equalized,
    "migration": migrated,
    "best ranges": with_best_ranges,
    "weights by MSE": with_mse_weights,
    "bias correction": bias_corrected,
    ROUNDING: with_learned_rounding,
}


def _recalibrated(scheme: Scheme, model: "onnx.ModelProto", bench: Workbench) -> Scheme:
    """The scheme for a float model of the same function, in other numbers."""
    changed = replace(scheme, model=model)
    return replace(
        changed, ranges=bench.calibration.ranges(model, observed_tensors(model, changed.nodes))
    )


def _copy(model: "onnx.ModelProto") -> "onnx.ModelProto":
    made = type(model)()
    made.CopyFrom(model)
    return made
