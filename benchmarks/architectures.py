"""Sixty of timm's architectures, one of a family, through `edgekiln build` to int8.

    pip install 'edgekiln[build,vision]'
    python -m edgekiln.benchmarks.architectures OUT.jsonl [NAME …] > architectures.md

Weights are the random ones that timm begins training with, for none can be downloaded; what is
nothing then, such as a class token, is of its neighbours' size. So the signal-to-noise ratio of the
int8 program to the float model, on crops of photos that were not calibrated on, says whether every
operator is built and computed right, and nothing of accuracy. What is in OUT is not built again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.benchmarks.command import PROGRAM
from edgekiln.compiler.build.result import BuildResult
from edgekiln.models.zoo.vision import mend_torchvision
from edgekiln.runtime import codec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

# By the side of their pictures, in pixels.
ARCHITECTURES = {
    96: (
        "convmixer_768_32", "convnext_atto", "cspdarknet53", "darknet17", "densenet121", "dla46_c",
        "dpn48b", "edgenext_xx_small", "efficientnet_lite0", "efficientvit_b0",
        "ese_vovnet19b_slim_dw", "fasternet_t0", "fastvit_t8", "ghostnet_100", "hardcorenas_a",
        "hgnetv2_b0", "hrnet_w18_small", "inception_next_atto", "inception_v3", "lcnet_050",
        "legacy_seresnet18", "mambaout_femto", "mobilenetv3_small_050", "mobileone_s0",
        "mobilevit_xxs", "nf_resnet26", "poolformer_s12", "rdnet_tiny", "regnety_002",
        "repghostnet_050", "repvit_m0_9", "res2net50_14w_8s", "resnest14d", "resnet18",
        "resnetv2_50", "rexnet_100", "selecsls42", "starnet_s050", "tresnet_m", "xception41",
    ),
    224: (
        "cait_xxs24_224", "coat_lite_tiny", "convit_tiny", "deit_tiny_patch16_224",
        "efficientformer_l1", "efficientvit_m0", "gmlp_ti16_224", "levit_128s", "mvitv2_tiny",
        "pit_ti_224", "pvt_v2_b0", "sequencer2d_s", "shvit_s1", "swiftformer_xs",
        "swin_tiny_patch4_window7_224", "tiny_vit_5m_224", "twins_pcpvt_small", "visformer_tiny",
        "vit_tiny_patch16_224", "xcit_nano_12_p16_224",
    ),
}  # fmt: skip
SIZES = {name: size for size, names in ARCHITECTURES.items() for name in names}
LEAST_DB = 25.0
_MODULE = "edgekiln.benchmarks.architectures"
_CLASSES, _SEED, _LONGEST_S = 10, 0, 1800
_CROPS = 256
_NOTHING = 1e-3
_TOO_LOW = "is below the 10 dB"  # what `quantize` says of a signal that it does not accept
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(name: str) -> "nn.Module":
    """One of timm's architectures with random weights."""
    mend_torchvision()
    import timm
    import torch

    torch.manual_seed(_SEED)
    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=_CLASSES)
    with torch.no_grad():
        for called, parameter in module.named_parameters():
            # Class tokens and scales of branches begin near 0: beside others they are nothing yet.
            if not called.endswith("bias") and float(parameter.abs().max()) < _NOTHING:
                parameter.normal_(0, 0.5)
    return module.eval()


def crops(size: int, count: int, seed: int = _SEED) -> "NDArray[np.float32]":
    """Squares of the two photos that scikit-learn carries, normalised as ImageNet's are.

    Returns:
        (count, 3, size, size).
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    found = np.empty((count, size, size, 3), np.float32)
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(rng.integers(size // 2, min(photo.size)))
        left, top = (int(rng.integers(0, extent - side + 1)) for extent in photo.size)
        part = photo.resize((size, size), box=(left, top, left + side, top + side))
        found[index] = np.asarray(part)[:, :: int(rng.choice((-1, 1)))]
    normal = (found / 255 - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2), np.float32)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What `edgekiln build` made of an architecture.

    Args:
        held: whether it was told to keep `LEAST_DB`, by `--min-sqnr`.
        sqnr_db: of the compiled int8 program to the float model; None if there is none.
        float_operations: how many of its `operations` are not integer.
        fault: why there is no program; "" if there is one.
    """

    name: str
    size: int
    held: bool
    sqnr_db: float | None = None
    float_operations: int = 0
    operations: int = 0
    macs: int = 0
    wall_s: float = 0.0
    fault: str = ""

    @property
    def is_final(self) -> bool:
        """Whether `--min-sqnr` would change nothing."""
        return self.is_enough or bool(self.fault and _TOO_LOW not in self.fault)

    @property
    def is_enough(self) -> bool:
        return self.sqnr_db is not None and self.sqnr_db >= LEAST_DB


def built(name: str, *, held: bool) -> Outcome:
    """One architecture, in a process of its own, with a store of its own."""
    size = SIZES[name]
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        home = Path(folder)
        np.savez(home / "crops.npz", x=crops(size, _CROPS))
        words = [
            PROGRAM, "build",
            f"{_MODULE}:network?name={name}",
            "--calibrate", str(home / "crops.npz"), "--skip", "distill", "--skip", "prune",
            "--target", "host", "--bench-seconds", "0",
            "--out", str(home / "dist"), "--json", *(("--min-sqnr", str(LEAST_DB)) if held else ()),
        ]  # fmt: skip
        own = {**os.environ, "EDGEKILN_STORE": str(home / "store")}
        try:
            run = subprocess.run(
                words, env=own, timeout=_LONGEST_S, capture_output=True, text=True, check=False
            )
        except subprocess.TimeoutExpired:
            fault = f"not built in {_LONGEST_S} s"
            return Outcome(name=name, size=size, held=held, wall_s=_LONGEST_S, fault=fault)
    wall_s = round(time.monotonic() - began, 1)
    if run.returncode:
        said = run.stderr.strip().splitlines()
        fault = next((line for line in said if line.startswith("error")), said[-1] if said else "")
        return Outcome(name=name, size=size, held=held, wall_s=wall_s, fault=fault)
    return _outcome(name, held, wall_s, json.loads(run.stdout))


def _outcome(name: str, held: bool, wall_s: float, document: dict[str, object]) -> Outcome:
    result = codec.decode(BuildResult, {k: v for k, v in document.items() if k != "schema"})
    last = result.steps[-1]
    (target,) = result.targets
    return Outcome(
        name=name,
        size=SIZES[name],
        held=held,
        sqnr_db=last.score.value if last.score else None,
        float_operations=len(target.float_ops),
        operations=target.layers,
        macs=last.macs or 0,
        wall_s=wall_s,
    )


def outcomes(path: Path, names: Sequence[str]) -> list[Outcome]:
    """What is in a file, and what is missing there, which is built and added to it."""
    known = [Outcome(**json.loads(line)) for line in _lines(path)]
    for held in (False, True):
        for name in names:
            of_it = [each for each in known if each.name == name]
            if any(each.held == held or each.is_final for each in of_it):
                continue
            known.append(built(name, held=held))
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(codec.encode(known[-1])) + "\n")
            print(known[-1], file=sys.stderr)
    return known


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def markdown(found: Sequence[Outcome]) -> str:
    """A table, a row an architecture, and how many there are of each sort."""
    heads = "architecture", "px", "M MACs", "SQNR", f"SQNR, `--min-sqnr {LEAST_DB:g}`", "in floats"
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    enough = 0
    for name, size in SIZES.items():
        plain, held = (
            next((each for each in found if each.name == name and each.held == way), None)
            for way in (False, True)
        )
        if plain is None:
            continue
        best = held if held is not None and held.sqnr_db is not None else plain
        enough += best.is_enough
        floats = f"{best.float_operations} of {best.operations}"
        cells = [
            name, str(size), f"{best.macs / 1e6:,.0f}" if best.macs else "–", _signal(plain),
            _signal(held) if held is not None else "", floats,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    count = len({each.name for each in found})
    return "\n".join([f"{enough} of {count} keep {LEAST_DB:g} dB in int8.", "", *lines, ""])


def _signal(outcome: Outcome) -> str:
    return outcome.fault if outcome.sqnr_db is None else f"{outcome.sqnr_db:.1f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="outcomes, one a line; those in it are kept")
    parser.add_argument("names", nargs="*", help="architectures (default: all)")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - SIZES.keys()):
        parser.error(f"unknown are {', '.join(unknown)}")
    print(markdown(outcomes(given.out, given.names or tuple(SIZES))))


if __name__ == "__main__":
    main()
