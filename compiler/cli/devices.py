"""`edgekiln devices`: boards and emulators by name."""

import time
from pathlib import Path

import click

from edgekiln.compiler.cli.devices_status import status
from edgekiln.compiler.cli.output import columns, json_option, print_json

device_option = click.option(
    "--device",
    metavar="NAME|ADDRESS",
    help="Run on this device (default: this machine), see `edgekiln devices`.",
)


allowed_signers_option = click.option(
    "--allowed-signers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Refuse what this public key, or those of ssh-keygen's allowed_signers file, has not "
    "signed (default: take any).",
)


@click.group()
def devices() -> None:
    """List and check devices; see who uses a farm's; offer this machine to a tracker.

    Names stand in devices.toml, in the current directory or in ~/.config/edgekiln.
    """


devices.add_command(status)


@devices.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the devices of devices.toml."""
    from edgekiln.runtime.device.address import FORMS, named

    entries = named()
    if as_json:
        from edgekiln.compiler.cli.documents import Devices

        print_json("edgekiln.devices/1", Devices(devices=entries))
        return
    rows = [("NAME", "ADDRESS")]
    rows += [(name, entry.url) for name, entry in entries.items()]
    columns(rows)
    if not entries:
        click.echo(f"no devices.toml; addresses are {FORMS}")


@devices.command()
@click.argument("device", metavar="NAME|ADDRESS")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@json_option
def check(device: str, bundle: Path | None, as_json: bool) -> None:
    """Reach a device, say what it is, and run the example of BUNDLE there."""
    from edgekiln.compiler.cli.documents import DeviceCheck
    from edgekiln.compiler.devices.named import open_device
    from edgekiln.runtime.device.example import check_example

    start = time.monotonic()
    with open_device(device, bundle) as opened:
        reached_s = time.monotonic() - start
        machine, state, cpus = opened.machine(), opened.state(), opened.affinity()
        equal = check_example(bundle, opened) if bundle is not None else ()
        # All that is asked of it is asked while it is held; a board is free again before anything
        # is shown.
        name, measures = opened.name, opened.measures
    found = DeviceCheck(
        device=name, measures=measures, reached_s=reached_s,
        machine=machine, state=state, cpus=cpus, equal=equal,
    )  # fmt: skip
    if as_json:
        print_json("edgekiln.device-check/1", found)
        return
    click.echo(f"{name}: reached in {reached_s:.1f} s")
    if measures:
        load = "unknown" if state.load is None else f"{state.load:g}"
        click.echo(f"  {machine.cpu}, {machine.architecture}, {machine.cores} cores, load {load}")
        click.echo(f"  {machine.kernel}, governor {machine.governor or 'none'}")
    else:
        click.echo("  emulates: it computes the right bits and tells no latency")
    if bundle is not None:
        click.echo(f"  {bundle}: {', '.join(equal)} as expected, bit by bit")


@devices.command()
@click.option(
    "--tracker",
    required=True,
    metavar="HOST:PORT",
    help="Offer it to TVM's RPC tracker at this address.",
)
@click.option("--key", required=True, help="Let clients ask for it by this name, e.g. rpi5.")
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Listen at this address, at which clients reach this machine.",
)
@click.option(
    "--port", default=9090, show_default=True, help="Listen on the first free port from here on."
)
@allowed_signers_option
def serve(tracker: str, key: str, address: str, port: int, allowed_signers: Path | None) -> None:
    """Offer this machine to a tracker, until SIGTERM or Ctrl-C.

    Whoever the tracker lets in can run programs here. With --allowed-signers this machine itself
    verifies that they have signed the bundle; without it, use the loopback address behind an ssh
    tunnel, or a trusted network.
    """
    from edgekiln.runtime.device import board_server

    board_server.run(
        board_server.offer_of(tracker, key, address=address, port=port, signers=allowed_signers)
    )
