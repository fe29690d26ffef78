"""`python -m edgekiln.benchmarks.arm`: estimated cycles of our programs and of other engines'.

One int8 model a network, one thread, batch 1. All of them run under the same QEMU and are priced by
the same model of LLVM.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from edgekiln.benchmarks import networks
from edgekiln.benchmarks.arm import peers, sysroot
from edgekiln.benchmarks.arm.peers import PeerEstimate
from edgekiln.benchmarks.networks import CompiledNetwork, Network
from edgekiln.compiler.estimate.cost import METHOD
from edgekiln.runtime import codec
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets import profile

SCHEMA = "edgekiln.benchmarks-arm/1"
MODELS = ("resnet8", "dscnn", "mobilenetv1", "autoencoder", "mobilenetv2")
CALIBRATED_ON = 32  # samples
FOLDER = click.Path(path_type=Path)


@dataclass(frozen=True, kw_only=True)
class ArmRow:
    """Cycles of one network on one chip, all of them estimated."""

    network: str
    target: str
    model: str  # LLVM's
    macs: int
    peak_macs_per_cycle: float
    cycles: float
    instructions: int
    peers: dict[str, PeerEstimate]

    @property
    def lead(self) -> float:
        """How many times our cycles the best of the others takes."""
        return min(peer.cycles for peer in self.peers.values()) / self.cycles


@click.command()
@click.option(
    "--sysroot",
    "root",
    type=FOLDER,
    required=True,
    help="Take the AArch64 Python in this directory, which is made if it is not there.",
)
@click.option(
    "--peers-python",
    default=sys.executable,
    metavar="PATH",
    help="Convert for LiteRT by this Python, which has litert-torch and ai-edge-quantizer "
    "(default: the one that runs).",
)
@click.option(
    "--out",
    type=FOLDER,
    required=True,
    help="Write the programs and the results to this directory.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    default=tuple(sysroot.PARTS),
    show_default=True,
    help="Estimate for this target; again for more.",
)
@click.option(
    "--only",
    default="",
    metavar="TEXT",
    help="Take the networks that have TEXT in their name (default: all).",
)
def main(root: Path, peers_python: str, out: Path, targets: Sequence[str], only: str) -> None:
    """Estimate ours, LiteRT's and ONNX Runtime's cycles; write results.json and results.md."""
    sysroot.make(root)
    out.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in networks.SUITES["x86"] if each.model in MODELS and only in each.name]
    for row in _rows(chosen, targets, root=root.resolve(), python=peers_python, out=out):
        _publish(out, row)
        click.echo(f"{row.network} on {row.target}: {row.cycles:,.0f} cycles, {row.lead:.2f}×")


def _publish(out: Path, row: ArmRow) -> None:
    """Add a row to the results, in place of an earlier one of the same network and chip."""
    path = out / "results.json"
    found = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = [codec.decode(ArmRow, each) for each in found]
    rows = [each for each in rows if (each.network, each.target) != (row.network, row.target)]
    names = [network.name for network in networks.SUITES["x86"]]
    # In the suite's order, and within a network by what the chip can multiply in a cycle.
    rows = sorted(
        [*rows, row], key=lambda each: (names.index(each.network), each.peak_macs_per_cycle)
    )
    document = {"schema": SCHEMA, "method": METHOD, "rows": codec.encode(rows)}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "results.md").write_text(markdown(rows), encoding="utf-8")


def _rows(
    chosen: Sequence[Network], targets: Sequence[str], *, root: Path, python: str, out: Path
) -> Iterator[ArmRow]:
    from edgekiln.compiler.estimate.program import program

    for network in chosen:
        for name in targets:
            target = profile.load(name)
            # Only packaging and compilation are the target's: the store has the rest after the
            # first one.
            built = networks.build(network, out, name)
            ours = program(built.bundles["int8"])
            models = {
                "litert": _converted(network, built, python, out),
                "onnxruntime": built.models["int8"],
            }
            yield ArmRow(
                network=network.name,
                target=name,
                model=ours.model,
                macs=ours.total.macs,
                peak_macs_per_cycle=ours.peak_macs_per_cycle,
                cycles=ours.total.cycles,
                instructions=ours.total.instructions,
                peers={
                    engine: peers.estimate(engine, file, target, root)
                    for engine, file in models.items()
                },
            )


def _converted(network: Network, built: CompiledNetwork, python: str, out: Path) -> Path:
    """The path of LiteRT's model of the same network, which is made unless it is there."""
    import numpy as np

    target, samples = out / f"{network.model}.tflite", out / f"{network.model}-samples.npy"
    if not target.exists():
        np.save(samples, networks.samples(network, CALIBRATED_ON))
        module = ["-m", "edgekiln.benchmarks.peers.convert", "litert", "int8"]
        files = [str(built.module), str(samples), str(target)]
        done = subprocess.run(
            [python, *module, *files], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MissingToolError(
                f"cannot convert {network.name}: {done.stderr.strip().splitlines()[-1]}",
                "name a Python that has litert-torch and ai-edge-quantizer by --peers-python",
            )
    return target


def markdown(rows: Sequence[ArmRow]) -> str:
    """The table of benchmarks/README.md."""
    heads = (
        "network", "chip (model)", "MMAC", "EdgeKiln, k cycles", "LiteRT", "ONNX Runtime",
        "MAC/cycle, of peak", "over the best",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        speed = row.macs / row.cycles
        others = " | ".join(f"{row.peers[e].cycles / 1e3:,.1f}" for e in ("litert", "onnxruntime"))
        lines.append(
            f"| {row.network} | {row.target} ({row.model}) | {row.macs / 1e6:.1f} "
            f"| **{row.cycles / 1e3:,.1f}** | {others} | {speed:.1f}, "
            f"{speed / row.peak_macs_per_cycle:.0%} | {row.lead:.2f}× |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
