"""Parts of a build that stop before its targets."""

from collections.abc import Container, Mapping
from typing import get_args

from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.driver import Build, Progress, Request
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.store import Store


def shared_artifacts(
    request: Request, store: Store, progress: Progress, kinds: Container[Kind] = get_args(Kind)
) -> Mapping[Kind, Artifact]:
    """What a build makes before it comes to its targets, by kind; unscored.

    Args:
        kinds: it stops before the first stage that gives another one.
    """
    under_way = Build(request, store, progress, CHAIN)
    artifact = under_way.start()
    made = {artifact.kind: artifact}
    for name in under_way.shared_stages(artifact):
        if CHAIN.stage(name).gives not in kinds:
            break
        artifact = under_way.run_stage(name, artifact, None)
        made[artifact.kind] = artifact
    return made
