"""What a budget of latency wins over one of multiply-accumulates: both at several shares, the same
recovery, the accuracy on the validation split, and the measured time of the int8 program.

    python -m edgekiln.benchmarks.pruning_budgets net.pt out.jsonl --data digits --epochs 8

`net.pt` is a trained module. A line of `out.jsonl` is a pruned network; what it holds already is
not made again. The table says, for each network pruned by latency, how long one pruned by MACs
takes that is as accurate: on the straight lines between its neighbours.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.pruning.budget import CostKind
from edgekiln.compiler.stages import target_costs
from edgekiln.compiler.stages.prune import PruneStage
from edgekiln.compiler.training.context import open_context
from edgekiln.runtime import codec
from edgekiln.targets import profile

KINDS: tuple[CostKind, ...] = ("macs", "latency")


@dataclass(frozen=True, kw_only=True)
class PrunedNetwork:
    """One pruned network."""

    kind: CostKind
    share: float  # that was asked for
    accuracy: float  # on the validation split, or what else decides there; higher is better
    macs_ratio: float
    latency_s: float  # of the int8 program on this machine


def main() -> None:
    """Prune, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="")
    parser.add_argument("--shares", default="0.7,0.5,0.35,0.25")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--importance", default="magnitude")
    parser.add_argument("--metric", default="val_accuracy")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    host = profile.load("host")
    done = _read(given.out)
    for share in map(float, given.shares.split(",")):
        for kind in KINDS:
            if any((each.kind, each.share) == (kind, share) for each in done):
                continue
            stage = PruneStage(
                budget=(f"{kind}={share}",),
                recovery_epochs=given.epochs,
                importance=given.importance,
                channel_multiple=host.channel_multiple,
                data=given.data,
                seed=given.seed,
            )
            done.append(_pruned(given.module, stage, kind, share, given.metric))
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(codec.encode(done[-1])) + "\n")
    print("\n".join(table(done)))


def table(networks: Sequence[PrunedNetwork]) -> Iterator[str]:
    """All networks, and how long one pruned by MACs takes that is as accurate."""
    yield "| budget | share | accuracy | MACs left | µs | µs by MACs, as accurate | gain |"
    yield "|---|---|---|---|---|---|---|"
    by_macs = [each for each in networks if each.kind == "macs"]
    for each in networks:
        equal = equally_accurate_s(by_macs, each.accuracy) if each.kind == "latency" else None
        gain = f"{equal / each.latency_s:.2f}×" if equal else ""
        shown = f"{equal * 1e6:.1f}" if equal else ""
        yield (
            f"| {each.kind} | {each.share:g} | {each.accuracy:.4f} | {each.macs_ratio:.3f} | "
            f"{each.latency_s * 1e6:.1f} | {shown} | {gain} |"
        )


def equally_accurate_s(networks: Sequence[PrunedNetwork], accuracy: float) -> float | None:
    """The latency at `accuracy` between two of `networks`; None outside of all of them."""
    ordered = sorted(networks, key=lambda each: each.accuracy)
    for below, above in pairwise(ordered):
        if below.accuracy <= accuracy <= above.accuracy:
            span = above.accuracy - below.accuracy
            part = (accuracy - below.accuracy) / span if span else 0.0
            return below.latency_s + part * (above.latency_s - below.latency_s)
    return None


def _pruned(
    module: Path, stage: PruneStage, kind: CostKind, share: float, metric: str
) -> PrunedNetwork:
    with tempfile.TemporaryDirectory(prefix="edgekiln-pruning-") as home:
        ctx = StageContext(scratch=Path(home, "scratch"), objects=Store().compiled)
        src = Artifact.of_file(module, "module")
        stage = stage.settled(src)
        metrics = stage.run(src, Path(home, "pruned.pt"), ctx)
        context = open_context(Path(home, "pruned.pt"), stage.data, stage.seed)
        program = target_costs.program(
            context,
            profile.load("host"),
            data=stage.data,
            seed=stage.seed,
            device="",
            ctx=replace(ctx, scratch=Path(home, "program")),
            timed=True,
        )
    return PrunedNetwork(
        kind=kind,
        share=share,
        accuracy=metrics[metric],
        macs_ratio=metrics["macs_ratio"],
        latency_s=program.latency,
    )


def _read(path: Path) -> list[PrunedNetwork]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [codec.decode(PrunedNetwork, json.loads(line)) for line in lines]


if __name__ == "__main__":
    main()
