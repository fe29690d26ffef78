"""`python -m edgekiln.benchmarks.replay`: what a change of the compiler changes in its programs."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from edgekiln.benchmarks import networks
from edgekiln.benchmarks.networks import Network
from edgekiln.benchmarks.replay.compare import differences
from edgekiln.compiler.build.recipe import PRECISIONS
from edgekiln.targets import profile

_MOST = 20  # lines shown of one program's differences

_models = click.option(
    "--models",
    default=Path("benchmarks/prepared/replay"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Keep the networks' ONNX models in this directory.",
)
_names = click.option(
    "--networks",
    "names",
    default="",
    metavar="TEXT,…",
    help="Take the networks whose name has one of these texts (default: all).",
)
_profiles = click.option(
    "--profiles", default="", metavar="NAME,…", help="Take these targets (default: all that ship)."
)
_tir_only = click.option(
    "--tir-only", is_flag=True, help="Compare TensorIR alone: machine code takes minutes a network."
)


@click.group()
def main() -> None:
    """Compare the programs that two revisions make of the suite, for every target."""


@main.command()
@_models
@_names
def models(models: Path, names: str) -> None:
    """Export and quantize the suite's networks, once."""
    for network in _chosen(names):
        networks.export(network, {p: _model(models, network, p) for p in PRECISIONS})
        click.echo(f"{network.name}: ready", err=True)


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@_models
@_names
@_profiles
@_tir_only
def record(out: Path, models: Path, names: str, profiles: str, tir_only: bool) -> None:
    """Write what this revision makes of the networks to the directory OUT, a file a network.

    What is there already stays: a record that was stopped goes on.
    """
    from edgekiln.benchmarks.replay.record import ReplayRecorder

    out.mkdir(parents=True, exist_ok=True)
    recorder = ReplayRecorder(machine_code=not tir_only)
    chosen = profiles.split(",") if profiles else [n for n in profile.names() if n != profile.HOST]
    for network in _chosen(names):
        for precision in PRECISIONS:
            file = out / f"{network.slug}-{precision}.json"
            if file.exists():
                continue
            model = _model(models, network, precision)
            records = {name: recorder.record(model, profile.load(name)) for name in chosen}
            file.write_text(json.dumps(records, indent=0, sort_keys=True), encoding="utf-8")
            click.echo(f"{network.name} {precision}: {len(chosen)} targets", err=True)


@main.command()
@click.argument("before", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, file_okay=False, path_type=Path))
def compare(before: Path, after: Path) -> None:
    """List the calls that differ between two records; exit with 1 if there are any."""
    sys.exit(_compare(before, after))


@main.command()
@click.argument("old")
@click.argument("new", default="HEAD")
@_models
@_names
@_profiles
@_tir_only
def revisions(old: str, new: str, models: Path, names: str, profiles: str, tir_only: bool) -> None:
    """Record two git revisions, each with its own code, and compare them.

    Both must have this command.
    """
    options = [f"--models={models.absolute()}", f"--networks={names}", f"--profiles={profiles}"]
    with tempfile.TemporaryDirectory(prefix="edgekiln-replay-") as home:
        outs = []
        for side, revision in (("old", old), ("new", new)):
            out = Path(home, f"{side}-records")
            with _checkout(revision, Path(home, side)) as code:
                command = [sys.executable, "-m", "edgekiln.benchmarks.replay", "record", str(out)]
                command += [*options, *(["--tir-only"] if tir_only else [])]
                # In front of what is installed: the checkout's own code is to run.
                path = os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH"))))
                subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
            outs.append(out)
        sys.exit(_compare(*outs))


@contextmanager
def _checkout(revision: str, home: Path) -> Iterator[Path]:
    """Check the revision out for the block; yields what to put on Python's path."""
    subprocess.run(["git", "worktree", "add", "-q", "--detach", str(home), revision], check=True)
    try:
        # There lies the link by which a checkout is the package `edgekiln`.
        yield home / ".dev"
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(home)], check=True)


def _chosen(names: str) -> list[Network]:
    wanted = [name.strip().lower() for name in names.split(",")]
    return [n for n in networks.X86 if any(w in n.slug for w in wanted)]


def _model(models: Path, network: Network, precision: str) -> Path:
    return models / f"{network.slug}-{precision}.onnx"


def _compare(before: Path, after: Path) -> int:
    programs = differing = 0
    for file in sorted(after.glob("*.json")):
        # Only what both have can differ.
        if file.name.startswith("objects") or not (before / file.name).exists():
            continue
        was, now = (json.loads((home / file.name).read_text()) for home in (before, after))
        for target in sorted(was.keys() & now.keys()):
            programs += 1
            lines = list(differences(was[target], now[target]))
            differing += bool(lines)
            for line in lines[:_MOST]:
                click.echo(f"{file.stem} {target}: {line}")
            if len(lines) > _MOST:
                click.echo(f"{file.stem} {target}: and {len(lines) - _MOST} more")
    click.echo(f"{programs} programs compared, {differing} differ")
    return 1 if differing or not programs else 0


if __name__ == "__main__":
    main()
