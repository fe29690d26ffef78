"""What the suite measured survives, is added to, and reads the same on every page."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.benchmarks import markdown, networks, page, record
from edgekiln.benchmarks.record import Absent, LayerTiming, NetworkRow, Results, Timing
from edgekiln.compiler.build.recipe import Precision
from edgekiln.runtime import host
from edgekiln.runtime.errors import ConfigError

ORDER = ("small <net>", "large")


def timing(engine: str, median_s: float, precision: Precision = "int8") -> Timing:
    return Timing(
        engine=engine,
        version="1.0",
        precision=precision,
        median_s=median_s,
        min_s=median_s,
        spread=0.02,
    )


def row(network: str = ORDER[0], threads: int = 1, ours_s: float = 50e-6) -> NetworkRow:
    return NetworkRow(
        network=network,
        threads=threads,
        macs=12_000_000,
        differing=0,
        checked=1000,
        timings=(
            timing("edgekiln", ours_s),
            timing("slow", 400e-6),
            timing("quick", 100e-6),
            timing("slow", 300e-6, "float32"),
        ),
        absent=(Absent(engine="quick", precision="float32", reason="it has no floats"),),
        layers={
            "int8": (
                LayerTiming(name="stem", op="conv2d", macs=12_000_000, latency_s=100e-6),
                LayerTiming(name="sum", op="add", macs=0, latency_s=10e-6),
            )
        },
    )


@pytest.fixture
def results() -> Results:
    return Results(
        machine=host.machine(),
        target="host",
        trials=3,
        seconds=0.2,
        peaks={"int8": 240e9, "float32": 60e9},
        rows=(row(), row("large", ours_s=25e-6)),
    )


def test_results_come_back_as_they_were_saved(tmp_path: Path, results: Results) -> None:
    record.save(tmp_path / "results.json", results)
    assert record.load(tmp_path / "results.json") == results


def test_no_results_and_those_of_another_form_are_none(tmp_path: Path) -> None:
    assert record.load(tmp_path / "results.json") is None
    (tmp_path / "results.json").write_text('{"schema": "edgekiln.benchmarks/1"}')
    assert record.load(tmp_path / "results.json") is None


def test_rows_of_another_target_or_of_held_peers_are_not_kept_beside_others(
    tmp_path: Path, results: Results
) -> None:
    assert record.kept(tmp_path, results.target, held=False) == ()
    record.save(tmp_path / record.FILE, results)
    assert record.kept(tmp_path, results.target, held=False) == results.rows
    with pytest.raises(ConfigError, match="are of peers that are not held, and these would be of"):
        record.kept(tmp_path, results.target, held=True)
    with pytest.raises(ConfigError, match=f"are of {results.target}, and these would be of zen5"):
        record.kept(tmp_path, "zen5", held=False)


def test_a_row_replaces_that_of_its_network_and_threads(results: Results) -> None:
    added = results.with_row(row(ours_s=20e-6), ORDER).with_row(row(threads=2), ORDER)
    assert [(r.network, r.threads) for r in added.rows] == [
        ("small <net>", 1), ("large", 1), ("small <net>", 2),
    ]  # fmt: skip
    ours = added.rows[0].timing("edgekiln", "int8")
    assert ours is not None
    assert ours.median_s == 20e-6


def test_the_speedup_is_over_the_fastest_peer_of_the_same_precision(results: Results) -> None:
    assert results.rows[0].speedup("int8") == pytest.approx(2.0)
    assert results.rows[0].speedup("float32") is None  # ours is not there
    assert results.mean_speedup(1, "int8") == pytest.approx(8**0.5)


def test_the_tables_name_every_engine_and_why_one_is_missing(results: Results) -> None:
    text = markdown.markdown(results)
    assert "| network | MMAC | edgekiln 1.0 | slow 1.0 | quick 1.0 | over the fastest |" in text
    assert "| large | 12.0 | **25.0** ±1% | 400.0 ±1% | 100.0 ±1% | 4.00× |" in text
    assert "Geometric mean over the fastest peer of each network: 2.83×" in text
    assert "- quick float32, every network: it has no floats" in text
    assert "| stem | conv2d | 100.00 | 120 | 50% |" in text


def test_the_page_stands_alone_and_says_its_charts_in_words(results: Results) -> None:
    text = page.page(results)
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import", text)
    assert "<net>" not in text
    charts = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert len(charts) == 2 * 2 + 2  # two networks: latencies twice, our time by operation
    assert all(chart.get("role") == "img" for chart in charts)
    words = charts[0].get("aria-label")
    assert words is not None
    assert words.startswith("small <net>, int8, median latency. edgekiln 1.0: 50.0 µs ±1%; quick")


def test_bars_are_as_long_as_their_engines_take(results: Results) -> None:
    (chart, *_) = re.findall(r"<svg.*?</svg>", page.page(results), re.DOTALL)
    lengths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)%"', chart)]
    assert lengths == [12.5, 25.0, 100.0]


def test_a_page_without_layers_or_peers_is_still_a_page(results: Results) -> None:
    alone = replace(row(), timings=(timing("edgekiln", 5e-6),), absent=(), layers={})
    bare = replace(results, rows=(alone,))
    assert "5.0 µs" in page.page(bare)
    assert "| small <net> | 12.0 | **5.0** ±1% | – |" in markdown.markdown(bare)


def test_every_network_has_a_folder_of_its_own() -> None:
    slugs = [network.slug for network in networks.X86]
    assert len(set(slugs)) == len(slugs)
    assert all(re.fullmatch(r"[a-z0-9.-]+", slug) for slug in slugs)
