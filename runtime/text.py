"""What people read: outputs, benchmarks and bundles as lines of text."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekiln.runtime.found import FoundBox, found_in, said_by
from edgekiln.runtime.manifest import DETECTIONS
from edgekiln.runtime.points import names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekiln.runtime.bundle import Bundle
    from edgekiln.runtime.manifest import Footprint, TensorSpec
    from edgekiln.runtime.results import BenchResult, LayerTime

TOP = 5  # classes shown a sample
SHOWN = 10  # samples, and values of a sample that has no classes


def without_password(url: str) -> str:
    """A URL for people: without the password, if there is one in it."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}:***@{place}" if at and colon else url


def human_bytes(count: float) -> str:
    """A number of bytes for people, e.g. "1.5 MiB"."""
    if count < 1024:
        return f"{count:.0f} B"
    size = count / 1024
    for unit in ("KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def human_seconds(seconds: float) -> str:
    """A time of day or a shorter one, for people, e.g. "2.5 min"."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def counted(count: int, thing: str) -> str:
    """ "1 bundle", "3 bundles"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Left-aligned, two blanks apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def labelled_rows(spec: "TensorSpec", result: "NDArray[np.generic]") -> "list[NDArray[np.generic]]":
    """A classifier's scores, a row a sample; none where there is not one label for each score."""
    if _are_numbers(spec, result) or spec.holds:
        return []
    rows = _rows(result)
    return [row for row in rows if spec.labels and len(row) == len(spec.labels)]


def named_classes(spec: "TensorSpec", result: "NDArray[np.generic]") -> list[list[str]]:
    """The labels of classes that an output numbers, best first, a row a sample; of an output of
    another kind none.
    """
    if not _are_numbers(spec, result):
        return []
    count = len(spec.labels)
    return [
        [spec.labels[i] if 0 <= i < count else str(i) for i in row.tolist()]
        for row in _rows(result)
    ]


def _are_numbers(spec: "TensorSpec", result: "NDArray[np.generic]") -> bool:
    """Whether the values of an output number classes."""
    of_classes = str(result.dtype) in ("int32", "int64") and not spec.holds
    return bool(spec.labels) and spec.scale is None and of_classes


def _rows(result: "NDArray[np.generic]") -> "list[NDArray[np.generic]]":
    """One for each item of the first axis; one of one value for a scalar."""
    return [item.reshape(-1) for item in (result if result.ndim else result[None])]


def output_lines(spec: "TensorSpec", result: "NDArray[np.generic]") -> Iterator[str]:
    """A line a sample: the best classes of a classifier, the first numbers of anything else."""
    shape = "×".join(map(str, result.shape)) or "one value"
    yield f"{spec.name}: {result.dtype} {shape}"
    if spec.holds == DETECTIONS:
        yield from detection_lines(found_in(spec, result), len(result))
        return
    if said := said_by(spec, result):
        rows, lines = _rows(result), [[text] for text in said[:SHOWN]]
    elif rows := labelled_rows(spec, result):
        lines = [
            [f"{spec.labels[i]} {number(row[i])}" for i in row.argsort()[::-1][:TOP]]
            for row in rows[:SHOWN]
        ]
    elif classes := named_classes(spec, result):
        rows, lines = _rows(result), [row[:SHOWN] for row in classes[:SHOWN]]
    else:
        rows = _rows(result)
        lines = [[*map(number, row[:SHOWN])] + ["…"] * (len(row) > SHOWN) for row in rows[:SHOWN]]
    for index, cells in enumerate(lines):
        yield f"  {index}: {'  '.join(cells)}"
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more samples (--output or --json gives all)"


def detection_lines(found: "Sequence[FoundBox]", samples: int) -> Iterator[str]:
    """A table of what was found, a line each; in which sample, where there are several."""
    several = samples > 1
    rows = [("SAMPLE",) * several + ("CLASS", "SCORE", "LEFT", "TOP", "RIGHT", "BOTTOM")]
    for each in found:
        edges = (each.left, each.top, each.right, each.bottom)
        numbers = [_digits(each.score, 3), *(_digits(edge, 1) for edge in edges)]
        rows.append((str(each.sample),) * several + (each.name, *numbers))
    if len(rows) == 1:
        yield "  nothing was found"
        return
    yield from (f"  {line}" for line in columns(rows))


def _digits(value: float | None, count: int) -> str:
    return "-" if value is None else f"{value:.{count}f}"


def number(value: "np.generic") -> str:
    """Four digits of a float, all of an integer, true or false."""
    plain = value.item()
    return f"{plain:.4g}" if isinstance(plain, float) else str(plain).lower()


def bench_lines(results: "Sequence[BenchResult]") -> Iterator[str]:
    """The machine, a line an engine (the first is ours), doubts, then the layers of the first."""
    ours = results[0]
    machine, load = ours.machine, ours.before.load
    yield ", ".join(
        [
            machine.cpu,
            f"{machine.cores} cores",
            f"governor {machine.governor or 'unknown'}",
            f"load {'unknown' if load is None else format(load, 'g')}",
            machine.kernel,
        ]
    )
    pinned = f"pinned to {', '.join(map(str, ours.cpus))}" if ours.cpus else "not pinned"
    yield f"threads {ours.threads}, {pinned}; {len(ours.trials)} trials each, in turn"
    yield ""
    rows: list[tuple[str, ...]] = [
        ("ENGINE", "MEDIAN", "P90", "P99", "MIN", "SPREAD", "FIRST", "PEAK RSS", "× OURS")
    ]
    for each in results:
        times = (each.median_s, each.p90_s, each.p99_s, each.min_s)
        rows.append(
            (
                f"{each.engine} {each.precision}",
                *(f"{time_s * 1e6:,.1f} µs" for time_s in times),
                f"{each.spread:.1%}",
                f"{each.first_inference_s * 1e6:,.0f} µs",
                human_bytes(each.peak_resident_bytes),
                f"{each.median_s / ours.median_s:.2f}",
            )
        )
    yield from columns(rows)
    yield ""
    yield f"program {human_bytes(ours.program_bytes)}, arena {human_bytes(ours.arena_bytes or 0)}"
    yield from energy_lines(results)
    yield from warning_lines(results)
    if ours.layers:
        yield ""
        yield from layer_lines(ours.layers)


def energy_lines(results: "Sequence[BenchResult]") -> Iterator[str]:
    """Joules an inference, and what they are of; or why there are none."""
    for each in results:
        if (energy := each.energy) is None:
            continue
        yield (
            f"energy {each.engine} {each.precision}: {si(energy.gross_j, 'J')} an inference, "
            f"{si(energy.net_j, 'J')} above idle; {si(energy.mean_w, 'W')}, idle "
            f"{si(energy.idle_before_w, 'W')} before and {si(energy.idle_after_w, 'W')} after"
        )
    if (energy := results[0].energy) is not None:
        period = si(energy.update_period_s, "s")
        yield f"energy is of {energy.scope}, by {energy.meter} every {period}"
    else:
        yield f"energy unavailable: {results[0].energy_unavailable}"


def si(value: float, unit: str) -> str:
    """Three digits: 1.23 mJ."""
    for factor, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value / 1e-9:.3g} n{unit}"


def warning_lines(results: "Sequence[BenchResult]") -> Iterator[str]:
    """Doubts about the machine once, doubts about one engine with its name."""
    for warning in dict.fromkeys(warning for each in results for warning in each.warnings):
        doubtful = [each for each in results if warning in each.warnings]
        names = ", ".join(f"{each.engine} {each.precision}" for each in doubtful)
        yield (
            f"warning: {warning}"
            if len(doubtful) == len(results)
            else f"warning: {names}: {warning}"
        )


def layer_lines(layers: "Sequence[LayerTime]") -> Iterator[str]:
    """Where the time goes."""
    total_s = sum(layer.latency_s for layer in layers) or 1.0
    rows = [("LAYER", "OP", "TIME", "SHARE", "GMAC/S")]
    for layer in layers:
        speed = layer.macs / layer.latency_s / 1e9 if layer.macs and layer.latency_s else None
        rows.append(
            (
                layer.name,
                layer.op,
                f"{layer.latency_s * 1e6:,.2f} µs",
                f"{layer.latency_s / total_s:.1%}",
                "-" if speed is None else f"{speed:.1f}",
            )
        )
    yield from columns(rows)


def footprint_lines(footprint: "Footprint | None") -> Iterator[str]:
    """What a microcontroller's program takes, and of how much."""
    if footprint is None:
        return
    flash, ram = human_bytes(footprint.flash_bytes), human_bytes(footprint.ram_bytes)
    yield f"flash     {flash} of {human_bytes(footprint.flash_available_bytes)}"
    yield (
        f"RAM       {ram} of {human_bytes(footprint.ram_available_bytes)}: the arena, with inputs "
        f"and outputs, and {human_bytes(footprint.stack_bytes)} of stack"
    )


def bundle_lines(bundle: "Bundle") -> Iterator[str]:
    """What a bundle is, takes, gives and needs."""
    spec = bundle.program
    kept_float = [layer for layer in spec.layers if not layer.integer]
    yield f"{spec.name} for {spec.target} ({spec.machine}, {spec.isa})"
    yield f"  needs     {' '.join(spec.features) or 'no special features'}"
    kept = [state.tensor for state in spec.states]
    for direction, tensors in (("takes", spec.inputs), ("gives", spec.outputs), ("keeps", kept)):
        for tensor in tensors:
            shape = "×".join(map(str, tensor.shape))
            yield f"  {direction:<9} {tensor.name}: {tensor.dtype} {shape}"
    yield (
        f"  size      weights {human_bytes(spec.weights_bytes)}, code "
        f"{human_bytes(spec.code_bytes)}, arena {human_bytes(spec.arena_bytes)}"
    )
    for line in footprint_lines(spec.footprint):
        yield f"  {line}"
    yield f"  layers    {len(spec.layers)}, {len(kept_float)} of them float"
    for layer in kept_float:
        if layer.reason:
            yield f"            {layer.name} ({layer.op}): {layer.reason}"
    if spec.point:
        yield f"  points    {', '.join(f'{i} {name}' for i, name in enumerate(names(spec)))}"
    stages = [str(record.get("stage", "?")) for record in bundle.manifest.provenance]
    yield f"  made by   {' → '.join(stages) or 'unknown'}"
    yield f"  model     sha256 {spec.model_sha256}"


def microseconds(seconds: float) -> str:
    """A time in microseconds, to a tenth; below one of them, to three digits."""
    micros = seconds * 1e6
    return f"{micros:,.1f}" if abs(micros) >= 1 else f"{micros:.3f}"
