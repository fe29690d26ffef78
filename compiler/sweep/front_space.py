"""What is tried for a front where nothing is declared: what changes the costs of a model."""

from collections.abc import Iterator, Mapping

from edgekiln.compiler.build.recipe import Option, Recipe
from edgekiln.compiler.quantization.wide_codes import ACTIVATION_BITS, WIDE_BITS
from edgekiln.compiler.sweep.entrances import DATA, MODEL, SIZE
from edgekiln.compiler.sweep.ranges import FloatRange, ListedValues, Range
from edgekiln.compiler.sweep.space import Parameter, Space

WIDTH = "width"
_WIDTHS = (0.5, 0.75, 1.0, 1.5)  # of the recipe's own; each is a training
_CHANNELS = 4  # of which a width in channels is a multiple
_SIZES = (0.5, 0.75, 1.0)  # of the pictures
_PIXELS = 8  # of which a size is a multiple, so that it can be halved a few times
_LEAST_SIZE = 16
_WEIGHT_BITS = ListedValues(values=(8, 4))
_BITS = ListedValues(values=(ACTIVATION_BITS, WIDE_BITS))
_RATIO = FloatRange(low=0.2, high=1.0, step=0.1)


def front_space(
    recipe: Recipe, options: Mapping[str, tuple[Option, ...]], *, resizable: bool
) -> Space:
    """Width, size of the pictures, pruning, calibration, bits of activations, and the compiler's
    choice between time and bytes: as far as this build has them. Rates are left alone: each of them
    is a training, and costs the same on the device.

    Args:
        options: of the stages that run, and of what the build begins with.
        resizable: whether the model takes smaller pictures.
    """
    return tuple(_usual(recipe, options, resizable=resizable))


def _usual(
    recipe: Recipe, options: Mapping[str, tuple[Option, ...]], *, resizable: bool
) -> Iterator[Parameter]:
    wanted: list[tuple[str, str, Range | None]] = [
        (MODEL, WIDTH, _widths(_named(options, MODEL, WIDTH))),
        (DATA, SIZE, _sizes(_named(options, DATA, SIZE)) if resizable else None),
        ("prune", "ratio", None if recipe.options.get("prune", {}).get("budget") else _RATIO),
        ("quantize", "calibration", ListedValues(values=("minmax", "mse"))),
        ("quantize", "weight_bits", _WEIGHT_BITS),
        # Training knows no others than 8.
        ("quantize", "activation_bits", None if _named_in(recipe, "qat_epochs") else _BITS),
        ("compile", "compact", ListedValues(values=(False, True))),
    ]
    for stage, field, span in wanted:
        option = _named(options, stage, field)
        if option is not None and span is not None:
            yield Parameter(stage=stage, option=option, range=span)


def _named_in(recipe: Recipe, field: str) -> bool:
    """Whether the recipe sets this option of the quantizer to anything but nothing."""
    return bool(recipe.options.get("quantize", {}).get(field))


def _named(options: Mapping[str, tuple[Option, ...]], stage: str, field: str) -> Option | None:
    return next((each for each in options.get(stage, ()) if each.field == field), None)


def _widths(option: Option | None) -> Range | None:
    own = option.default if option else None
    if isinstance(own, bool) or not isinstance(own, int | float):
        return None
    if isinstance(own, float):
        return _listed(own, tuple(float(f"{part * own:.4g}") for part in _WIDTHS))
    return _listed(own, tuple(round(part * own / _CHANNELS) * _CHANNELS for part in _WIDTHS))


def _sizes(option: Option | None) -> Range | None:
    own = option.default if option else None
    if not isinstance(own, int):
        return None
    sizes = tuple(round(part * own / _PIXELS) * _PIXELS for part in _SIZES)
    return _listed(own, tuple(size for size in sizes if size >= _LEAST_SIZE))


def _listed(own: float, values: tuple[float, ...]) -> Range | None:
    """The values and the recipe's own among them, none twice; None: there is no other."""
    found = sorted({own, *(value for value in values if value > 0)})
    return ListedValues(values=tuple(found)) if len(found) > 1 else None
