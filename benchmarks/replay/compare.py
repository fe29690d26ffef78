"""Where two records of one program differ; names of buffers, layers and operations may."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest

from edgekiln.benchmarks.replay.record import CallRecord, Record, TensorRecord

# Of a call: what its code is, what it works on, and what is said of it besides its names.
_CALL = ("tir", "object", "workspace", "work", "writes", "macs", "integer", "layout", "halo")
_TENSOR = ("shape", "dtype", "scale", "zero_point")


def differences(before: Record, after: Record) -> Iterator[str]:
    """A line for each difference, in the order of the calls."""
    old, new = _places(before), _places(after)
    for index, (was, now) in enumerate(zip_longest(before["calls"], after["calls"])):
        if was is None or now is None:
            where = "only before" if now is None else "only after"
            yield f"call {index}: {where}: {_title(was or now)}"
            continue
        changes = _changes(was, now, _CALL)
        yield from (f"call {index} ({_title(now)}): {change}" for change in changes)
        arguments = [old.get(arg, arg) for arg in was["args"]]
        others = [new.get(arg, arg) for arg in now["args"]]
        if arguments != others:
            yield f"call {index} ({_title(now)}): arguments: {arguments} → {others}"
        if was["where"] and old.get(was["where"]) != new.get(now["where"] or ""):
            yield f"call {index} ({_title(now)}): where: {was['where']} → {now['where']}"
        if _tensor(was["output"]) != _tensor(now["output"]):
            yield f"call {index} ({_title(now)}): output: {was['output']} → {now['output']}"
    yield from _changes(before, after, ("inputs", "outputs", "peak", "weights"))
    if "offsets" in before and "offsets" in after:
        (was_at, now_at) = (list(record["offsets"].values()) for record in (before, after))
        # By the set of places: names, and with them the order, may change.
        if sorted(was_at) != sorted(now_at):
            yield "offsets in the arena differ"


def _changes(
    before: Mapping[str, object], after: Mapping[str, object], keys: Iterable[str]
) -> Iterator[str]:
    """The keys that are in both records and differ."""
    for key in keys:
        if key in before and key in after and before[key] != after[key]:
            yield f"{key}: {before[key]} → {after[key]}"


def _title(call: CallRecord) -> str:
    return f"{call['op']} {call['name']!r}"


def _places(record: Record) -> dict[str, str]:
    """Name each argument in the arena by its buffer's number: names are no difference."""
    number = {name: index for index, (name, _) in enumerate(record["buffers"])}
    sizes = dict(record["buffers"])
    found = {}
    for call in record["calls"]:
        for arg in (*call["args"], call["where"] or ""):
            buffer, _, offset = arg.rpartition("+")
            if buffer in number:
                found[arg] = f"buffer {number[buffer]} of {sizes[buffer]} bytes, at {offset}"
    return found


def _tensor(spec: TensorRecord | None) -> list[object]:
    return [spec.get(key) for key in _TENSOR] if spec else []
