"""The examples on real data, from training to a program, beside ONNX Runtime in one run.

    pip install --no-deps recbole==1.2.1 sktime==1.2.0
    python -m edgekiln.benchmarks.trained_domains results/ --pictures fashion-mnist/

Each is a recipe of `examples/tasks`, built there by `edgekiln build`. The table is what that says:
the metric on the test split of the float model and of the program, and how long both take on one
core, in turn. What has no data here is left out, by name.
"""

import argparse
import importlib.util
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.benchmarks.command import PROGRAM
from edgekiln.benchmarks.domains import STORE, build, stage_models
from edgekiln.benchmarks.onnxruntime_int8 import own_int8

if TYPE_CHECKING:
    from edgekiln.compiler.build.result import BuildResult, Step

EXAMPLES = Path(__file__).parents[1] / "examples" / "tasks"
_PAIRS, _CATALOGUE = "movielens:net", "movielens:catalogue"  # the latter has the former's weights


@dataclass(frozen=True, kw_only=True)
class TrainedDomain:
    """A network of the examples, and how it is built; its data lies in a package, or in the folder
    of pictures, which `pictures` reads.
    """

    name: str
    model: str
    package: str = ""
    pictures: str = ""
    task: str = ""  # by which ONNX Runtime's own int8 form is measured, too
    options: tuple[str, ...] = ()


_RATED, _SERIES = "recbole", "sktime"
_SPEAKER = ("--recipe", "series.toml", "--max-drop", "1")
_ITALY = "series:samples?name=ItalyPowerDemand&steps=24"

DOMAINS = (
    TrainedDomain(name="MovieLens, two towers, a pair", model=_PAIRS, package=_RATED,
                  options=("--recipe", "movielens.toml")),
    TrainedDomain(name="the same, embeddings of 4 bits", model=_PAIRS, package=_RATED,
                  options=("--recipe", "movielens4.toml")),
    TrainedDomain(name="MovieLens, the best 10 of 1,682", model=_CATALOGUE, package=_RATED,
                  options=("--calibrate", "movielens:everybody", "--skip", "distill", "--skip",
                           "prune", "--after", "top-k=10")),
    TrainedDomain(name="JapaneseVowels, GRU", model="series:gru", package=_SERIES,
                  options=(*_SPEAKER, "--skip", "prune")),
    TrainedDomain(name="JapaneseVowels, 1-D CNN", model="series:cnn", package=_SERIES,
                  options=_SPEAKER),
    TrainedDomain(name="ItalyPowerDemand, GRU", model="series:gru?channels=1", package=_SERIES,
                  options=(*_SPEAKER, "--skip", "prune", "--data", _ITALY)),
    TrainedDomain(name="ItalyPowerDemand, 1-D CNN", model="series:cnn?channels=1", package=_SERIES,
                  options=(*_SPEAKER, "--data", _ITALY)),
    TrainedDomain(name="Fashion-MNIST, what and which way up", model="turned:net",
                  pictures="turned:samples",
                  options=("--recipe", "turned.toml", "--max-drop", "what=2", "--max-drop",
                           "turn=1")),
    TrainedDomain(name="Clothes on photographs, boxes", model="clothes:detector",
                  pictures="clothes:boxes", task="detection?overlap=0.5",
                  options=("--recipe", "clothes-boxes.toml")),
    TrainedDomain(name="Clothes on photographs, pixels", model="clothes:segmenter",
                  pictures="clothes:pixels", task="segmentation",
                  options=("--recipe", "clothes-pixels.toml")),
)  # fmt: skip


def main() -> None:
    """Build and measure, and print the table; what cannot be built says why."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path, help="Take Fashion-MNIST's files from here.")
    parser.add_argument("--only", default="", help="Take networks whose name has this text.")
    parser.add_argument("--bench-seconds", default="0.5")
    given = parser.parse_args()
    folder, pictures = given.folder.resolve(), given.pictures and given.pictures.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print("| network | metric | float | program | ONNX Runtime's own int8 | n | weights | ours µs "
          "| ONNX Runtime int8 | float | spread |")  # fmt: skip
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for domain in DOMAINS:
        if given.only in domain.name:
            print(_row(domain, folder, pictures, given.bench_seconds), flush=True)


def _row(domain: TrainedDomain, folder: Path, pictures: Path | None, seconds: str) -> str:
    found = built(domain, folder, pictures, seconds)
    if isinstance(found, str):
        return f"| {domain.name} | {found} |"
    theirs = _of_onnxruntime(domain, found, folder, found.data) if domain.task else ""
    cells = _cells(found, theirs)
    return "| " + " | ".join((domain.name, *cells)) + " |"


def built(
    domain: TrainedDomain, folder: Path, pictures: Path | None, seconds: str
) -> "BuildResult | str":
    """What `edgekiln build` says of it, its error, or what is not here."""
    missing = domain.package and importlib.util.find_spec(domain.package) is None
    if missing or (domain.pictures and not pictures):
        what = domain.package if missing else "Fashion-MNIST"
        return f"not measured: {what} is not here"
    options = [*domain.options, "--out", folder, "--bench-seconds", seconds]
    if domain.pictures:
        options += ["--data", f"{domain.pictures}?folder={pictures}"]
    model = domain.model
    if model == _CATALOGUE:
        model = f"{model}?weights={_trained_pairs(folder / 'movielens.pt')}"
    record = folder / f"{domain.name.replace(' ', '-')}.json"
    return build(model, *options, record=record, folder=EXAMPLES, store=folder / STORE)


def _trained_pairs(weights: Path) -> Path:
    """The file of the trained network of pairs: by the recipe's options, as a build trains it."""
    recipe = tomllib.loads((EXAMPLES / "movielens.toml").read_text())
    command = [PROGRAM, "distill", _PAIRS, "-o", weights]
    command += ["--data", f"{recipe['data']}?task={recipe['task']}"]
    for key, value in recipe["distill"].items():
        command += [f"--{key}", value]
    subprocess.run(list(map(str, command)), check=True, cwd=EXAMPLES)
    return weights


def _of_onnxruntime(domain: TrainedDomain, result: "BuildResult", folder: Path, data: str) -> str:
    """The metric of ONNX Runtime's own int8 form of the trained network, whose integers our program
    of it computes.
    """
    quantized = folder / f"{domain.model.replace(':', '-')}.onnxruntime.onnx"
    # Data of one's own is found where the examples are.
    with chdir(EXAMPLES):
        own_int8(stage_models(result, folder / STORE)["export"], data, quantized)
    options = ("--data", data, "--task", domain.task, "--out", folder, "--bench-seconds", "0")
    record = quantized.with_suffix(".json")
    built = build(str(quantized), *options, record=record, folder=EXAMPLES, store=folder / STORE)
    return built if isinstance(built, str) else ", ".join(_values(built.steps[-1]))


def _cells(result: "BuildResult", theirs: str) -> Iterator[str]:
    """What the build says of its program, as the table has it."""
    scored = [step for step in result.steps if step.score is not None]
    before = next((step for step in scored if step.stage == "distill"), scored[0])
    yield ", ".join(_metrics(before))
    yield ", ".join(_values(before)) if before is not scored[-1] else ""
    yield ", ".join(_values(scored[-1]))
    yield theirs
    yield f"{scored[-1].score.n:,}" if scored[-1].score else ""
    yield f"{result.targets[0].weights_bytes / 1024:.1f} KiB"
    yield from _timings(result)


def _timings(result: "BuildResult") -> Iterator[str]:
    """The medians of all engines in µs, as the build has measured them, and the largest spread."""
    rows = {each.engine: each for each in result.targets[0].latencies}
    for engine in ("edgekiln int8", "onnxruntime int8", "onnxruntime float"):
        yield f"{rows[engine].median_s * 1e6:,.2f}" if engine in rows else "–"
    yield f"{max((each.spread for each in rows.values()), default=0):.1%}"


def _metrics(step: "Step") -> Iterator[str]:
    for score in (step.score, *step.further_scores):
        if score is not None:
            yield "SQNR" if score.is_agreement else score.label


def _values(step: "Step") -> Iterator[str]:
    for score in (step.score, *step.further_scores):
        if score is not None:
            yield str(score)


if __name__ == "__main__":
    main()
