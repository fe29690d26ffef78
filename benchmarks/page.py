"""The results as one HTML page that needs nothing else: bar charts in inline SVG."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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

_TEMPLATE = Path(__file__).with_name("page.html.j2")
STEP_PX = 42  # from one bar of a chart to the next: a line of words, and the bar below it


@dataclass(frozen=True, kw_only=True)
class ChartBar:
    """The bar of one engine, or of one operation of ours."""

    name: str
    text: str
    share: float  # of the longest, in percent
    ours: bool


@dataclass(frozen=True, kw_only=True)
class Chart:
    title: str  # read aloud: what the bars say in words
    bars: tuple[ChartBar, ...]

    @property
    def height(self) -> int:
        return len(self.bars) * STEP_PX


def page(results: Results) -> str:
    """The page's text."""
    import jinja2

    # Escaped: an engine's version, or why it is absent, is another program's text.
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        results=results,
        counted=COUNTED,
        held=HELD if results.held else "",
        sections=list(_sections(results)),
        absent=_absent(results),
        latency=_latency_chart,
        layers=partial(_layer_chart, results),
        rows=lambda row, precision: _layer_rows(results, row.layers[precision], precision),
        step=STEP_PX,
    )


def _sections(results: Results) -> Iterator[dict[str, object]]:
    for threads in results.threads():
        for precision in PRECISIONS:
            rows = [row for row in results.rows if row.threads == threads]
            shown = [r for r in rows if any(t.precision == precision for t in r.timings)]
            if shown:
                yield {
                    "id": f"{precision}-{threads}",
                    "precision": precision,
                    "threads": threads,
                    "rows": shown,
                    "mean": results.mean_speedup(threads, precision),
                }


def _latency_chart(row: NetworkRow, precision: Precision) -> Chart:
    timings = sorted((t for t in row.timings if t.precision == precision), key=lambda t: t.median_s)
    # The slowest engine's bar is the full width.
    longest = max(t.median_s for t in timings)
    bars = tuple(
        ChartBar(
            name=f"{t.engine} {t.version}".strip(),
            text=f"{t.median_s * 1e6:,.1f} µs ±{t.spread / 2:.0%}",
            share=100 * t.median_s / longest,
            ours=t.engine == OURS,
        )
        for t in timings
    )
    words = "; ".join(f"{bar.name}: {bar.text}" for bar in bars)
    return Chart(title=f"{row.network}, {precision}, median latency. {words}", bars=bars)


def _layer_chart(results: Results, row: NetworkRow, precision: Precision) -> Chart:
    """Where our time goes, by operation; the text says how near to the peak its arithmetic is."""
    layers = row.layers[precision]
    groups: dict[str, list[LayerTiming]] = {}
    for layer in layers:
        groups.setdefault(layer.op, []).append(layer)
    seconds = {op: sum(layer.latency_s for layer in group) for op, group in groups.items()}
    longest, total = max(seconds.values()), sum(seconds.values())
    bars = []
    for op, group in sorted(groups.items(), key=lambda item: -seconds[item[0]]):
        rate = mac_per_s(group)
        share = "" if rate is None else f", {rate / results.peaks[precision]:.0%} of the peak"
        text = f"{seconds[op] / total:.0%}, {seconds[op] * 1e6:,.1f} µs in {len(group)} calls"
        bars.append(
            ChartBar(name=op, text=text + share, share=100 * seconds[op] / longest, ours=True)
        )
    words = "; ".join(f"{bar.name}: {bar.text}" for bar in bars)
    return Chart(title=f"{row.network}, time by operation. {words}", bars=tuple(bars))


def _layer_rows(
    results: Results, layers: tuple[LayerTiming, ...], precision: Precision
) -> list[tuple[str, str, str, str, str]]:
    """Each layer's name, operation, µs, GMAC/s and share of the peak, in the program's order."""
    rows = []
    for layer in layers:
        rate = mac_per_s([layer])
        gmacs = "–" if rate is None else f"{rate / 1e9:.0f}"
        share = "–" if rate is None else f"{rate / results.peaks[precision]:.0%}"
        rows.append((layer.name, layer.op, f"{layer.latency_s * 1e6:.2f}", gmacs, share))
    return rows


def _absent(results: Results) -> list[tuple[str, str, str]]:
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in results.rows:
        for gone in row.absent:
            place = found.setdefault((f"{gone.engine} {gone.precision}", gone.reason), {})
            place[row.network] = None
    every = len({row.network for row in results.rows})
    return [
        (engine, "every network" if len(where) == every else ", ".join(where), reason)
        for (engine, reason), where in found.items()
    ]
