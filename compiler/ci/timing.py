"""How fast a bundle is and what power it draws, remembered by the machine that measured it."""

import json
import platform
from dataclasses import replace

from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.devices.named import identity
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.key import key_of, recipe_of
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.bench import BundleTiming, TimeBundle
from edgekiln.runtime import codec
from edgekiln.runtime.device.device import LOCAL


def timing(bundle: Artifact, job: Job, store: Store, *, again: bool) -> BundleTiming:
    """Measure a bundle, or find what was measured of its bytes on this machine before.

    Args:
        store: this machine's own: others shall not take its latencies for theirs.
        again: whether to measure what was measured before.

    Raises:
        DeviceError, MeasurementError, BundleError: as `edgekiln.runtime.bench.compare`.
    """
    device = job.device or LOCAL
    stage = TimeBundle(
        device=device,
        # With the host's name: of two machines of one kind neither takes the other's latencies.
        machine=f"{platform.node()}: {identity(device, bundle.path)}",
        min_seconds=job.bench_seconds,
        power=job.target.meter,
    )
    if again:
        store.drop(key_of(recipe_of(stage, bundle, None)))
    made = store.run(stage, bundle)
    found = codec.decode(BundleTiming, json.loads(made.path.read_text(encoding="utf-8")))
    return replace(found, bench=replace(found.bench, remembered=made.cached))
