"""`python -m edgekiln.benchmarks`: build the suite and measure it against other engines."""

from pathlib import Path

import click

from edgekiln.benchmarks import run as suite


@click.command()
@click.option("--target", default="host", show_default=True, metavar="NAME|FILE.toml")
@click.option("--trials", default=5, show_default=True, help="Trials of each engine, in turn.")
@click.option("--seconds", default=1.0, show_default=True, help="Length of a trial.")
@click.option("--threads", default=1, show_default=True, help="Threads of every engine.")
@click.option("--only", default="", metavar="TEXT", help="Networks with TEXT in their name.")
@click.option("--out", default="bench-results", type=click.Path(path_type=Path), show_default=True)
def main(target: str, trials: int, seconds: float, threads: int, only: str, out: Path) -> None:
    """Time the suite's int8 programs and every installed peer; write results.json and .md."""
    rows = []
    for row in suite.run(target=target, trials=trials, seconds=seconds, threads=threads, only=only):
        rows.append(row)
        click.echo(f"{row.network}: {row.ours.median_s * 1e6:.1f} µs, {row.speedup:.2f}×", err=True)
    settings = {"target": target, "trials": trials, "seconds": seconds, "threads": threads}
    suite.publish(out, rows, **settings)
    click.echo(suite.markdown(rows))


if __name__ == "__main__":
    main()
