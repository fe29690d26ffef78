"""The results as Markdown: a table for each number of threads and precision, then the layers."""

from edgekiln.benchmarks.record import (
    COUNTED,
    HELD,
    OURS,
    LayerTiming,
    NetworkRow,
    Results,
    mac_per_s,
)
from edgekiln.compiler.build.recipe import PRECISIONS, Precision

_LAYERS = 12  # of a network that are shown, the slowest first


def markdown(results: Results) -> str:
    """The text, with everything but the raw numbers, which are in results.json."""
    parts = [_intro(results)]
    for threads in results.threads():
        for precision in PRECISIONS:
            parts += _table(results, threads, precision)
    parts += _absent(results)
    parts.append("## Where the time goes\n")
    parts += [
        _layers(results, row, precision)
        for row in results.rows
        # Of the fewest threads: with more of them the same layers are shared.
        if row.threads == min(results.threads())
        for precision in row.layers
    ]
    return "\n".join(parts)


def _intro(results: Results) -> str:
    peaks = ", ".join(f"{p} {rate / 1e9:.0f} GMAC/s" for p, rate in results.peaks.items())
    return (
        f"# {results.machine.cpu}, {results.machine.cores} cores, target {results.target}\n\n"
        f"Medians of {results.trials} trials of {results.seconds} s each, all engines in turn; "
        "± is half the distance between the furthest trials.\n"
        f"One core's arithmetic alone: {peaks}. {COUNTED}\n" + (f"{HELD}\n" if results.held else "")
    )


def _table(results: Results, threads: int, precision: Precision) -> list[str]:
    rows = [row for row in results.rows if row.threads == threads]
    names = dict.fromkeys(t.engine for row in rows for t in row.timings if t.precision == precision)
    if not names:
        return []
    versions = {t.engine: t.version for row in rows for t in row.timings}
    heads = [f"{name} {versions[name]}".strip() for name in names]
    lines = [
        f"## {precision}, {threads} thread{'s' if threads > 1 else ''}, batch 1, µs\n",
        f"| network | MMAC | {' | '.join(heads)} | over the fastest |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in rows:
        cells = [_cell(row, name, precision) for name in names]
        ratio = row.speedup(precision)
        last = f"{ratio:.2f}×" if ratio else "–"
        lines.append(f"| {row.network} | {row.macs / 1e6:,.1f} | {' | '.join(cells)} | {last} |")
    mean = results.mean_speedup(threads, precision)
    if mean:
        lines += ["", f"Geometric mean over the fastest peer of each network: {mean:.2f}×"]
    return [*lines, ""]


def _cell(row: NetworkRow, engine: str, precision: Precision) -> str:
    timing = row.timing(engine, precision)
    if timing is None:
        return "–"
    value = f"{timing.median_s * 1e6:,.1f}"
    return f"{f'**{value}**' if engine == OURS else value} ±{timing.spread / 2:.0%}"


def _absent(results: Results) -> list[str]:
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in results.rows:
        for gone in row.absent:
            key = (gone.engine, gone.precision, gone.reason)
            found.setdefault(key, {})[row.network] = None
    if not found:
        return []
    every = len({row.network for row in results.rows})
    lines = [
        f"- {engine} {precision}, {'every network' if len(where) == every else ', '.join(where)}: "
        f"{reason}"
        for (engine, precision, reason), where in found.items()
    ]
    return ["## Not measured\n", *lines, ""]


def _layers(results: Results, row: NetworkRow, precision: Precision) -> str:
    layers = row.layers[precision]
    total = sum(layer.latency_s for layer in layers) or 1.0
    slowest = sorted(layers, key=lambda layer: -layer.latency_s)
    lines = [
        f"### {row.network}, {precision}\n",
        "| operation | calls | share of time | GMAC/s | share of the peak |",
        "|---|---|---|---|---|",
    ]
    lines += [_group(results, op, group, total, precision) for op, group in _by_op(layers)]
    lines += [
        "",
        f"The slowest of {len(layers)} layers:\n",
        "| layer | operation | µs | GMAC/s | share of the peak |",
        "|---|---|---|---|---|",
    ]
    for layer in slowest[:_LAYERS]:
        rate = _rate(results, [layer], precision)
        name = layer.name[-40:].replace("|", "")
        lines.append(f"| {name} | {layer.op} | {layer.latency_s * 1e6:.2f} | {rate} |")
    return "\n".join([*lines, ""])


def _by_op(layers: tuple[LayerTiming, ...]) -> list[tuple[str, list[LayerTiming]]]:
    groups: dict[str, list[LayerTiming]] = {}
    for layer in layers:
        groups.setdefault(layer.op, []).append(layer)
    return sorted(groups.items(), key=lambda item: -sum(layer.latency_s for layer in item[1]))


def _group(
    results: Results, op: str, layers: list[LayerTiming], total: float, precision: Precision
) -> str:
    seconds = sum(layer.latency_s for layer in layers)
    rate = _rate(results, layers, precision)
    return f"| {op} | {len(layers)} | {seconds / total:.0%} | {rate} |"


def _rate(results: Results, layers: list[LayerTiming], precision: Precision) -> str:
    rate = mac_per_s(layers)
    if rate is None:
        return "– | –"
    return f"{rate / 1e9:.0f} | {rate / results.peaks[precision]:.0%}"
