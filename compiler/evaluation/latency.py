"""How fast one engine is, beside another: a row of the tables that people read."""

from dataclasses import dataclass

from edgekiln.runtime.results import BenchResult


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One engine on this machine, one inference at a time."""

    engine: str  # "edgekiln", "onnxruntime int8", "onnxruntime float"
    threads: int
    median_s: float
    p90_s: float
    spread: float  # of the trials' medians: (max - min) / median
    ratio: float  # to ours; above 1: slower than ours
    warnings: tuple[str, ...] = ()


def latency_of(result: BenchResult, ours_s: float) -> Latency:
    """The row of a table in which our program takes `ours_s`."""
    return Latency(
        engine=f"{result.engine} {result.precision}",
        threads=result.threads,
        median_s=result.median_s,
        p90_s=result.p90_s,
        spread=result.spread,
        ratio=result.median_s / ours_s,
        warnings=result.warnings,
    )
