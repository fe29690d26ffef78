"""Whether a tokenizer.json says one number of each token, which files edited by hand do not."""

from collections.abc import Iterator, Mapping

_Json = Mapping[str, object]


def contradiction(whole: _Json, vocabulary: Mapping[str, int]) -> str:
    """What a file says of a token's number that its vocabulary does not; "" where there is nothing.

    `tokenizers` takes the vocabulary's number of an added token, or the next free one, whatever
    stands beside it; and of tokens around a text, and of the one that fills up, what stands there.
    """
    known, largest = dict(vocabulary), -1
    for entry in _list(whole.get("added_tokens")):
        name = str(_part(entry).get("content"))
        largest = max(largest, known.setdefault(name, max(largest + 1, len(vocabulary))))
        if (said := _part(entry).get("id")) != known[name]:
            return f"its added token {name!r} has number {said}, and {known[name]} by its place"
    stated = [*_stated(_part(whole.get("post_processor"))), *_pad(_part(whole.get("padding")))]
    for name, number in stated:
        if name in known and number != known[name]:
            return f"it puts token {number} for {name!r}, whose number is {known[name]}"
    return ""


def _part(value: object) -> _Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _pad(padding: _Json) -> Iterator[tuple[str, object]]:
    if "pad_id" in padding:
        yield str(padding.get("pad_token")), padding["pad_id"]


def _stated(behind: _Json) -> Iterator[tuple[str, object]]:
    """Tokens around a text, by name, and their numbers."""
    for part in _list(behind.get("processors")):
        yield from _stated(_part(part))
    for role in ("cls", "sep"):
        if len(pair := _list(behind.get(role))) == 2:
            yield str(pair[0]), pair[1]
    for name, token in _part(behind.get("special_tokens")).items():
        numbers = _list(_part(token).get("ids"))
        yield name, numbers[0] if len(numbers) == 1 else numbers
