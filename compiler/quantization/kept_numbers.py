"""Whether the model that is quantized still computes what the user's does.

What comes behind is held against the rewritten model, for one has the names of the other's layers;
so nothing else would notice a rewrite that changed the numbers.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.quantization.ranges import whole_batches
from edgekiln.compiler.quantization.sqnr import Sqnr
from edgekiln.runtime.errors import MismatchError, UnsupportedError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed

_LEAST_DB = 50.0  # sums in another order are beyond 100
_SAMPLES = 32


def check(model: "onnx.ModelProto", rewritten: "onnx.ModelProto", feed: "Feed") -> None:
    """Run both on the first validation samples and compare their float outputs.

    A model that ONNX Runtime cannot run is not compared: it has operators, such as Swish, that only
    the rewritten one does without.

    Raises:
        MismatchError: they differ by more than roundings.
    """
    from edgekiln.compiler.onnx_model.stream_session import open_session

    try:
        plain = open_session(model, optimize=False)
    except UnsupportedError:
        return
    ours = open_session(rewritten, optimize=False)
    names = [value.name for value in model.graph.output]
    found = {name: Sqnr() for name in names}
    batches = feed.batches("val", batch=feed.takes.at_once(_SAMPLES), samples=_SAMPLES)
    for call in whole_batches(batches, feed.takes):
        for name, real, made in zip(names, plain(call, names), ours(call, names), strict=True):
            both = np.isfinite(real) & np.isfinite(made) if real.shape == made.shape else None
            if both is None:
                raise _changed(name, f"is {made.shape}, not {real.shape}")
            found[name].add(np.where(both, real, 0), np.where(both, made, 0))
    for name, sqnr in found.items():
        if sqnr.has_signal and sqnr.db < _LEAST_DB:
            raise _changed(name, f"is {sqnr.db:.1f} dB from the model's own")


def _changed(name: str, how: str) -> MismatchError:
    return MismatchError(
        f"quantize: rewriting the model changed what it computes: output {name!r} {how}",
        hint="this is a fault of EdgeKiln, and please report it with the model",
    )
