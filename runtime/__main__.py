"""The front for devices: `python -m edgekiln.runtime bench | run | check | info | serve`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from edgekiln.runtime import bench, text
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.documents import Answers, Benches, Checked, Output, document
from edgekiln.runtime.errors import EXIT_INTERRUPTED, EdgeKilnError
from edgekiln.runtime.example_check import check_example
from edgekiln.runtime.faults import print_error
from edgekiln.runtime.file_runs import run_files
from edgekiln.runtime.limits import unreachable
from edgekiln.runtime.manifest import text_of
from edgekiln.runtime.standard_streams import standard_streams

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except EdgeKilnError as error:
        print_error(error)
        return error.exit_code
    except OSError as error:
        if (refused := unreachable(error)) is None:
            raise
        print_error(refused)
        return refused.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m edgekiln.runtime",
        description="Run and measure bundles on this machine. Exit codes as of `edgekiln`.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_bench(commands)
    run = _add(commands, "run", run_command, "Run a bundle on files.")
    run.add_argument(
        "--input", action="append", default=[], metavar="[NAME=]FILE",
        help="Read an input from this .npy, .npz, .bin, .wav, .txt or image, once for each, in the "
        "model's order or by name.",
    )  # fmt: skip
    run.add_argument(
        "--text", action="append", default=[],
        help="Give this text to a program that takes text; again for more.",
    )  # fmt: skip
    run.add_argument(
        "--output", action="append", type=Path, default=[], metavar="FILE.npy",
        help="Write an output to this file; once for each.",
    )  # fmt: skip
    _add(commands, "check", check_command, "Compare the bundle's example with its expected output.")
    _add(commands, "info", info_command, "Show what a bundle is; --json prints its manifest.")
    for name in ("bench", "run"):
        commands.choices[name].add_argument(
            "--point", default="", metavar="NAME|NUMBER",
            help="Take this operating point of a program that has several (default: the first).",
        )  # fmt: skip
    for name in ("bench", "run", "check"):
        commands.choices[name].add_argument(
            "--allowed-signers", type=Path, metavar="FILE",
            help="Refuse what this public key, or those of an allowed_signers file, has not "
                 "signed.",
        )  # fmt: skip
    _add_serve(commands)
    return top


def _add_serve(commands: Commands) -> None:
    summary = "Offer this machine to a tracker, until SIGTERM or Ctrl-C."
    command = commands.add_parser("serve", help=summary, description=summary)
    command.set_defaults(command=serve_command)
    option = command.add_argument
    option(
        "--tracker",
        required=True,
        metavar="HOST:PORT",
        help="Offer it to TVM's RPC tracker at this address.",
    )
    option("--key", required=True, help="Let clients ask for it by this name, e.g. rpi5.")
    option("--address", default="127.0.0.1", help="Listen at this address (default: %(default)s).")
    option(
        "--port",
        type=int,
        default=9090,
        help="Listen on the first free port from here on (default: %(default)s).",
    )
    option(
        "--allowed-signers", type=Path, metavar="FILE",
        help="Refuse what this public key, or those of an allowed_signers file, has not signed.",
    )  # fmt: skip


def _add_bench(commands: Commands) -> None:
    command = _add(commands, "bench", bench_command, "Measure the latency and energy of a bundle.")
    option = command.add_argument
    option(
        "--onnx", action="append", type=Path, default=[], metavar="FILE.onnx",
        help="Measure ONNX Runtime on this model beside it.",
    )  # fmt: skip
    option(
        "--trials",
        type=int,
        default=bench.TRIALS,
        help="Measure each engine this many times, in turn (default: %(default)s).",
    )
    option(
        "--min-seconds",
        type=float,
        default=bench.MIN_SECONDS,
        help="Let a trial last this many seconds (default: %(default)s).",
    )
    option(
        "--threads",
        type=int,
        default=1,
        help="Share each inference among this many threads (default: %(default)s).",
    )
    option(
        "--cpu",
        type=int,
        help="Pin the threads to this CPU, by number, and those behind it (default: not pinned).",
    )
    option("--profile", action="store_true", help="Time every layer, too.")
    option(
        "--power", default="auto", metavar="METER",
        help="Measure energy by this: auto, none, a sensor, or an external meter's .csv or "
             "serial line "
        "(default: %(default)s).",
    )  # fmt: skip
    option(
        "--strict", action="store_true",
        help="Refuse a noisy, throttled or overheated run.",
    )  # fmt: skip


def _add(
    commands: Commands, name: str, function: Callable[[argparse.Namespace], None], summary: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(command=function)
    command.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="Take this bundle, an .ekb file."
    )
    command.add_argument("--json", action="store_true", help="Print JSON on stdout.")
    return command


def bench_command(arguments: argparse.Namespace) -> None:
    """Measure a bundle, and ONNX Runtime beside it."""
    results = bench.compare(
        arguments.bundle,
        arguments.onnx,
        trials=arguments.trials,
        min_seconds=arguments.min_seconds,
        threads=arguments.threads,
        profile=arguments.profile,
        cpu=arguments.cpu,
        power=arguments.power,
        signers=arguments.allowed_signers,
        point=arguments.point,
    )
    if arguments.strict:
        bench.require_quiet(results)
    if arguments.json:
        print(document("edgekiln.bench-set/2", Benches(results=tuple(results))))
    else:
        print("\n".join(text.bench_lines(results)))


def run_command(arguments: argparse.Namespace) -> None:
    """Run a bundle on files."""
    outputs = run_files(
        arguments.bundle,
        arguments.input,
        arguments.output,
        signers=arguments.allowed_signers,
        point=arguments.point,
        texts=arguments.text,
    )
    if arguments.json:
        listed = tuple(Output.of(spec, result) for spec, result in outputs)
        print(document("edgekiln.run/1", Answers(bundle=str(arguments.bundle), outputs=listed)))
    else:
        for spec, result in outputs:
            print("\n".join(text.output_lines(spec, result)))


def check_command(arguments: argparse.Namespace) -> None:
    """Compare a bundle's example with what it computes here."""
    equal = tuple(check_example(arguments.bundle, signers=arguments.allowed_signers))
    if arguments.json:
        print(document("edgekiln.check/1", Checked(bundle=str(arguments.bundle), equal=equal)))
    else:
        print(f"{arguments.bundle}: {', '.join(equal)} as expected, bit by bit")


def info_command(arguments: argparse.Namespace) -> None:
    """Show what a bundle is."""
    bundle = Bundle.open(arguments.bundle)
    if arguments.json:
        print(text_of(bundle.manifest), end="")
    else:
        print("\n".join(text.bundle_lines(bundle)))


def serve_command(arguments: argparse.Namespace) -> None:
    """Offer this machine to a tracker until a signal comes."""
    from edgekiln.runtime.device import board_server

    offer = board_server.offer_of(
        arguments.tracker,
        arguments.key,
        address=arguments.address,
        port=arguments.port,
        signers=arguments.allowed_signers,
    )
    board_server.run(offer)


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
