"""`edgekiln targets`: the device profiles."""

import click

from edgekiln.compiler.cli.output import columns, json_option, print_json
from edgekiln.runtime.text import human_bytes
from edgekiln.targets import detect as detection
from edgekiln.targets import profile

SCHEMA = "edgekiln.targets/1"


@click.group()
def targets() -> None:
    """List and show target profiles; detect which one fits."""


@targets.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the target profiles."""
    names = [name for name in profile.names() if name != profile.HOST]
    found = [profile.load(name) for name in names]
    if as_json:
        from edgekiln.compiler.cli.documents import Targets

        print_json(SCHEMA, Targets(targets=tuple(found)))
        return
    here = {fit.profile.name for fit in detection.fits() if fit.fits}
    rows = [("NAME", "MACHINE", "RUNS HERE", "DESCRIPTION")]
    rows.append((profile.HOST, "", "yes" if here else "no", "This machine, detected"))
    for target in found:
        runs = "yes" if target.name in here else "no"
        rows.append((target.name, target.machine, runs, target.description))
    columns(rows)


@targets.command()
@click.argument("name", metavar="NAME|FILE.toml")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one profile, after inheritance and detection."""
    target = profile.load(name)
    if as_json:
        from edgekiln.compiler.cli.documents import Targets

        print_json(SCHEMA, Targets(targets=(target,)))
        return
    caches = target.caches
    sizes = " · ".join(human_bytes(size) for size in (caches.l1d, caches.l2, caches.l3))
    rows = [
        ("name", target.name),
        ("description", target.description),
        ("base", target.base or "-"),
        ("machine", target.machine),
        ("instructions", target.isa),
        ("features", " ".join(target.features)),
        ("cores", str(target.cores)),
        ("L1d · L2 · L3", sizes),
        ("channels", f"multiples of {target.channel_multiple}"),
        ("tvm", " ".join(f"{key}={value}" for key, value in target.tvm.items())),
        ("compiler", " ".join((target.toolchain.cc, *target.toolchain.cflags))),
        ("power meter", target.meter),
    ]
    if target.memory:
        flash, ram = target.memory.flash_bytes, target.memory.ram_bytes
        rows.append(("flash · RAM", f"{human_bytes(flash)} · {human_bytes(ram)}"))
    columns(rows)


@targets.command()
@json_option
def detect(as_json: bool) -> None:
    """Say which profile fits this machine, and why."""
    fits = detection.fits()
    chosen = detection.best(fits)
    if as_json:
        from edgekiln.compiler.cli.documents import Detection, ProfileFit

        listed = tuple(
            ProfileFit(
                name=fit.profile.name,
                machine=fit.profile.machine,
                fits=fit.fits,
                found=fit.found,
                missing=fit.missing,
            )
            for fit in fits
        )
        document = Detection(chosen=chosen.name if chosen else None, profiles=listed)
        print_json("edgekiln.detect/1", document)
        return
    for fit in fits:
        word = "fits" if fit.fits else "does not fit"
        mark = "  ← host" if fit.profile == chosen else ""
        click.echo(f"{fit.profile.name}: {word}{mark}")
        if not fit.same_machine:
            click.echo(f"  is for {fit.profile.machine}")
        elif fit.missing:
            click.echo(f"  missing: {' '.join(fit.missing)}")
        click.echo(f"  found:   {' '.join(fit.found) or 'none of its features'}")
