"""`edgekiln devices status`: who runs what on a farm's boards, how long, and what waits."""

import click

from edgekiln.compiler.cli.output import json_option, print_json
from edgekiln.runtime import text
from edgekiln.runtime.device.farm_status import BoardStatus, KeyStatus, TrackerStatus, WaitingStatus
from edgekiln.runtime.text import counted, human_seconds


@click.command()
@click.option(
    "--tracker",
    metavar="HOST:PORT",
    help="Ask TVM's RPC tracker at this address (default: all that devices.toml names).",
)
@json_option
def status(tracker: str | None, as_json: bool) -> None:
    """Show a farm: who runs what on which board, for how long, what waits, and which are dead.

    Names are those that clients say; boards are asked whether they are there.
    """
    from edgekiln.runtime.device.address import boards_of_trackers
    from edgekiln.runtime.device.farm_status import status_of
    from edgekiln.runtime.device.tracker import tracker_address
    from edgekiln.runtime.errors import ConfigError

    named = boards_of_trackers()
    places = [tracker_address(tracker)] if tracker else list(named)
    if not places:
        raise ConfigError(
            "devices.toml names no tracker", 'give --tracker HOST:PORT, or url = "rpc://…" there'
        )
    found = tuple(status_of(place, named.get(place, {})) for place in places)
    if as_json:
        from edgekiln.compiler.cli.documents import Farms

        print_json("edgekiln.farms/1", Farms(trackers=found))
        return
    for each in found:
        for line in _lines(each):
            click.echo(line)


def _lines(tracker: TrackerStatus) -> list[str]:
    lines = [f"tracker {tracker.tracker}" + ("" if tracker.keys else ": no boards")]
    for key in tracker.keys:
        lines += [_heading(key), *_table(_BOARDS, [_board_row(each) for each in key.boards])]
        lines += _table(_QUEUE, [_waiting_row(each) for each in key.waiting])
        if key.unnamed:
            more = f"{key.unnamed} more requested"
            lines.append(f"  {more}, by clients that do not say who they are or have left")
    return lines


def _heading(key: KeyStatus) -> str:
    states = [each.state for each in key.boards]
    parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    if key.expected > len(key.boards):
        parts.append(f"{key.expected - len(key.boards)} missing of {key.expected}")
    parts.append(f"{len(key.waiting)} waiting")
    return f"{key.key}: {counted(len(key.boards), 'board')}: {', '.join(parts)}"


_BOARDS = ("BOARD", "STATE", "WHO", "RUNS", "FOR")
_QUEUE = ("NEXT", "PRIORITY", "WHO", "RUNS", "WAITS")


def _board_row(board: BoardStatus) -> tuple[str, ...]:
    took = "" if board.busy_s is None else human_seconds(board.busy_s)
    who, what = (board.job.owner, board.job.what) if board.job else ("", "")
    return board.address, board.state, who, what, took


def _waiting_row(each: WaitingStatus) -> tuple[str, ...]:
    job = each.job
    return str(each.place), str(job.priority), job.owner, job.what, human_seconds(each.waits_s)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"  {line}" for line in text.columns([head, *rows])] if rows else []
