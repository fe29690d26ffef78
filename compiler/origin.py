"""What a bundle was made from, as far as the store still has it."""

from pathlib import Path

from edgekiln.compiler.store import Store
from edgekiln.runtime.bundle import MANIFEST, Bundle, read_tar


def models_of(bundle: Path, store: Store | None = None) -> tuple[Path, ...]:
    """The int8 and the float model that a bundle was made from, as far as the store has them.

    Raises:
        InputError, BundleError: the bundle cannot be read.
    """
    if MANIFEST not in read_tar(bundle):
        return ()  # a .lib, which knows its history only in the store
    store = store or Store()
    made_from = {
        str(record["kind"]): str(record["sha256"])
        for record in Bundle.open(bundle).manifest.provenance
    }
    found = [store.find(made_from[kind]) for kind in ("onnx-int8", "onnx") if kind in made_from]
    return tuple(artifact.path for artifact in found if artifact)
