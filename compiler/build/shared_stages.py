"""Parts of a build that stop before its targets."""

from collections.abc import Mapping

from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.driver import Build, Progress, Request
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.store import Store


def shared_artifacts(request: Request, store: Store, progress: Progress) -> Mapping[Kind, Artifact]:
    """What a build makes before it comes to its targets, by kind; unscored."""
    under_way = Build(request, store, progress, CHAIN)
    artifact = under_way.start()
    made = {artifact.kind: artifact}
    for name in under_way.shared_stages(artifact):
        artifact = under_way.run_stage(name, artifact, None)
        made[artifact.kind] = artifact
    return made


def train_along(request: Request, store: Store, progress: Progress) -> None:
    """What a process does that only helps the first one of a build: the stages that train."""
    under_way = Build(request, store, progress, CHAIN)
    artifact = under_way.start()
    for name in under_way.shared_stages(artifact):
        if CHAIN.stage(name).gives != "module":
            return
        artifact = under_way.run_stage(name, artifact, None)
