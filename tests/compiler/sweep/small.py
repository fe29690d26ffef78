"""Sweeps of a chain that trains nothing: how good a model is, is a function of its options."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from edgekiln.compiler.build.chain import Chain
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.build.resolve import EnteredFile
from edgekiln.compiler.evaluation.report import Costs, Evaluation
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext, silent
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.plan import SweepPlan, SweepRequest, settle
from edgekiln.compiler.sweep.result import SweepResult
from edgekiln.compiler.sweep.sweep import sweep
from edgekiln.models.tasks.metric import ACCURACY
from edgekiln.models.tasks.tally import Measured
from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import ConfigError, TrainingError
from edgekiln.targets import profile
from tests.compiler import small_chain
from tests.compiler.small_chain import SMALL

BEST_RATE = 0.6  # of `Train`
DIVERGES = 0.9


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """The nearer the rate to the best one, the better, and a little by the method; every run leaves
    a line in `log`, and every epoch one in `log` + ".epochs".
    """

    name: ClassVar[str] = "distill"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"

    rate: float = 0.2
    method: Literal["plain", "fancy"] = "plain"
    layers: tuple[str, ...] = ()
    epochs: int = 3
    width: int = 10
    log: str = ""
    data: str = ""
    seed: int = field(default=0)

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ConfigError(f"distill: rate = {self.rate}", hint="give a number up to 1")

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        value = 0.9 - (self.rate - BEST_RATE) ** 2 + 0.01 * (self.method == "fancy")
        with Path(self.log).open("a") as log:
            log.write(f"{self.rate} {self.method}\n")
        if self.rate > DIVERGES:
            raise TrainingError("training diverged", "lower --rate")
        for epoch in range(1, self.epochs + 1):
            with Path(f"{self.log}.epochs").open("a") as log:
                log.write(f"{epoch}\n")
            ctx.on_epoch(epoch, value * epoch / self.epochs)
        dst.write_text(f"score {value} macs {int(1000 * self.rate)}\n{src.path.read_text()}")
        return {}


@dataclass(frozen=True, kw_only=True)
class Judge(small_chain.Evaluate):
    """Reads what `Train` wrote; the test split is a point worse than the other, and leaves a line
    in a file beside the store.
    """

    split: Literal["test", "val"] = "test"

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        value = number(src, "score")
        if self.split == "test":
            value -= 0.01
            with (ctx.scratch.parent.parent.parent / "test.log").open("a") as log:
                log.write(f"{value}\n")
        report = Evaluation(
            measured=(Measured(head="", metric=ACCURACY, value=value),),
            n=400,
            of=400,
            parameters=7,
            macs=1000,
            file_bytes=5,
            predictions_sha256="",
        )
        dst.write_text(json.dumps(encode(report)))
        return {}


def number(artifact: Artifact, word: str) -> float:
    words = artifact.path.read_text().split()
    return float(words[words.index(word) + 1])


def costs(artifact: Artifact, _allow: object) -> Costs:
    return Costs(parameters=7, macs=int(number(artifact, "macs")), file_bytes=11)


def labelled(_data: str, _seed: int) -> bool:
    return True


def enter(path: Path, _recipe: Recipe) -> EnteredFile:
    return EnteredFile(kind=small_chain.kind_of(path))


def data_of(_artifact: Artifact) -> str:
    return "digits"


def done_stages(_artifact: Artifact) -> tuple[str, ...]:
    return ()


def no_ladder(_artifact: Artifact) -> None:
    return None


# Of functions with names, which processes can send each other.
CHAIN: Chain = replace(
    SMALL,
    stages={**SMALL.stages, "distill": f"{__name__}:Train"},
    evaluate=f"{__name__}:Judge",
    scores=labelled,
    enter=enter,
    data_of=data_of,
    done_stages=done_stages,
    ladder_of=no_ladder,
    costs=costs,
)
RATE = ("distill.rate=0.05..1.0",)
GRID = ("distill.rate=0.2,0.4,0.6", "distill.method=plain,fancy")


def request(home: Path, **changes: Any) -> SweepRequest:
    model = home / "net.pt"
    model.write_text("score 0.1 macs 5")
    options = {"distill": {"log": str(home / "train.log")}}
    asked = SweepRequest(
        model=str(model),
        recipe=Recipe(data="digits", skip=("prune",), options=options),
        target=profile.load("x86-64-v3"),
        trials=6,
        storage=f"journal:///{home / 'study.log'}",
        study="net",
        out=home / "dist",
        params=RATE,
    )
    return replace(asked, **changes)


def planned(home: Path, **changes: Any) -> SweepPlan:
    return settle(request(home, **changes), Store(home / "store"), CHAIN)


def swept(home: Path, **changes: Any) -> SweepResult:
    return sweep(planned(home, **changes), Store(home / "store"), "", silent)


def trained(home: Path) -> list[str]:
    """What ran, in its order."""
    return (home / "train.log").read_text().splitlines()


def reads_of_the_test_split(home: Path) -> int:
    """How often the test split was read."""
    log = home / "test.log"
    return len(log.read_text().splitlines()) if log.exists() else 0
