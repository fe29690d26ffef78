"""`edgekiln sign` and `verify-signature`: who made a bundle."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundles", metavar="BUNDLE...", type=FILE, nargs=-1, required=True)
@click.option(
    "--key", type=FILE, required=True, metavar="FILE",
    help="Sign by this private ssh key, or the public key of one that ssh-agent holds.",
)  # fmt: skip
def sign(*, bundles: tuple[Path, ...], key: Path) -> None:
    """Write BUNDLE.sig beside each BUNDLE, by ssh-keygen. Ed25519 keys are best."""
    from edgekiln.runtime.signature import sign as run

    for bundle in bundles:
        click.echo(f"wrote {run(bundle, key)}")


@click.command()
@click.argument("bundles", metavar="BUNDLE...", type=FILE, nargs=-1, required=True)
@click.option(
    "--allowed", type=FILE, required=True, metavar="FILE",
    help="Accept this public key, or those of ssh-keygen's allowed_signers file.",
)  # fmt: skip
def verify_signature(*, bundles: tuple[Path, ...], allowed: Path) -> None:
    """Check that each BUNDLE is whole and signed by somebody allowed. Exit code 8 if not."""
    from edgekiln.runtime.signature import verify

    for bundle in bundles:
        click.echo(f"{bundle}: signed by {verify(bundle, allowed)}")
