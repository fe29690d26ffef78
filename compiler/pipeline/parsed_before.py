"""What source files said when they were parsed before, in this process or in another."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekiln.compiler.pipeline import source_file
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.source_file import Parsed, parse
from edgekiln.runtime.codec import decode, encode
from edgekiln.runtime.errors import EdgeKilnError


@contextmanager
def parsed_before(cache: ObjectCache) -> Iterator[Callable[[bytes], Parsed]]:
    """Yield `source_file.parse` with a memory: files of the same content are parsed once.

    The memory is one file of `cache`, under the hash of the parser, so that another parser starts
    afresh. It is written again when something was added.
    """
    key = hashlib.sha256(Path(source_file.__file__).read_bytes()).hexdigest()
    known = _read(cache.get(key))
    count = len(known)

    def recall(source: bytes) -> Parsed:
        name = hashlib.sha256(source).hexdigest()
        if name not in known:
            known[name] = parse(source)
        return known[name]

    yield recall
    if len(known) > count:
        cache.put(key, json.dumps(encode(known)).encode())


def _read(content: bytes | None) -> dict[str, Parsed]:
    if content is None:
        return {}
    try:
        return decode(dict[str, Parsed], json.loads(content))
    except (ValueError, EdgeKilnError):  # of whoever writes more than this into such files
        return {}
