"""The option of every command that builds: a store that machines share."""

import click

store_option = click.option(
    "--store", "store_url", default="", metavar="URL",
    help="Use a shared store behind this machine's own: a directory, s3://… or gs://… (default: "
    "none).",
)  # fmt: skip
