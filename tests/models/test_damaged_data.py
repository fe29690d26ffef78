"""Data files damaged at random: each is read or refused with its name, in little memory.

EDGEKILN_FUZZ_CASES sets how many cases the long run tries.
"""

import gzip
import json
import os
import pickle
import random
import resource
import shutil
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekiln.models import data
from edgekiln.runtime.errors import EdgeKilnError

_SHORT, _LONG = 300, 10_000
_MOST_EXTRA_BYTES = 1 << 30  # the files are a few kilobytes
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_DRAW = np.random.default_rng(0)
_IMAGES = _DRAW.integers(0, 256, (24, 4, 4, 3), np.uint8)
_LABELS = np.arange(24) % 2


def _npz(folder: Path) -> Path:
    np.savez(folder / "d.npz", x=_IMAGES, y=_LABELS, classes=np.array(["cat", "dog"]))
    return folder / "d.npz"


def _compressed_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "d.npz", x_train=_DRAW.normal(size=(24, 5)), y_train=_LABELS)
    return folder / "d.npz"


def _idx(folder: Path, pack: Callable[[bytes], bytes] = bytes) -> Path:
    for kind, array in (("images-idx3", _IMAGES[..., 0]), ("labels-idx1", _LABELS)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        content = header + array.astype(np.uint8).tobytes()
        (folder / f"train-{kind}-ubyte").write_bytes(pack(content))
    return folder


def _gzipped_idx(folder: Path) -> Path:
    return _idx(folder, gzip.compress)


def _cifar(folder: Path) -> Path:
    pixels = _DRAW.integers(0, 256, (20, 3072), np.uint8)
    content = {b"data": pixels, b"labels": (np.arange(20) % 10).tolist()}
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    meta = {b"label_names": [b"thing%d" % number for number in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return folder / "data_batch_1"


def _photos(folder: Path, suffix: str, depth: int) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir()
        for number, image in enumerate(_IMAGES[label::2]):
            pixels = image if depth == 8 else image[..., 0].astype(np.uint16) * 257
            Image.fromarray(pixels).save(folder / name / f"{number}{suffix}")
    return folder


def _png(folder: Path) -> Path:
    return _photos(folder, ".png", 8)


def _deep_png(folder: Path) -> Path:
    return _photos(folder, ".png", 16)


def _tiff(folder: Path) -> Path:
    return _photos(folder, ".tif", 16)


def _jpeg(folder: Path) -> Path:
    return _photos(folder, ".jpg", 8)


def _csv(folder: Path) -> Path:
    rows = [f"{number},{number / 7:.3f},{'cat' if number % 2 else 'dog'}" for number in range(40)]
    (folder / "t.csv").write_text("\n".join(["a,b,target", *rows]))
    return folder / "t.csv"


def _coco(folder: Path) -> Path:
    (folder / "images").mkdir()
    for number, image in enumerate(_IMAGES):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 4, "height": 4} for n in range(len(_IMAGES))
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [1, 0.5, 2, 3]}
            for n in range(len(_IMAGES))
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def _masks(folder: Path) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir()
        for number, image in enumerate(_IMAGES):
            pixels = image if name == "images" else image[..., 0] % 3
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def _wav(folder: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir()
        for number, image in enumerate(_IMAGES[label::2]):
            with wave.open(str(folder / name / f"{number}.wav"), "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(8000)
                sound.writeframes(image.tobytes())
    return folder


def _texts(folder: Path) -> Path:
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "##s", "caf\u00e9")
    content = {
        "added_tokens": [{"id": 0, "content": "[PAD]", "special": True, "normalized": False}],
        "normalizer": {"type": "BertNormalizer", "lowercase": False, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
        "model": {"type": "WordPiece", "vocab": {name: n for n, name in enumerate(names)}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    rows = [f"the {number} caf\u00e9s,{'cat' if number % 2 else 'dog'}" for number in range(40)]
    (folder / "t.csv").write_text("\n".join(["a,target", *rows]), encoding="utf-8")
    return Path(f"{folder / 't.csv'}?text=a&vocabulary={folder / 'tokenizer.json'}&length=8")


_KINDS = (
    _npz, _compressed_npz, _idx, _gzipped_idx, _cifar, _png, _deep_png, _tiff, _jpeg, _csv, _coco,
    _masks, _wav, _texts,
)  # fmt: skip


def _mutated(content: bytes, draw: random.Random) -> bytes:
    """A few changes: bytes, numbers at any place, pieces cut, doubled or moved, the end lost."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(len(changed) + 1)
        length = draw.choice((1, 2, 4, 8, 64))
        match draw.randrange(7):
            case 0 if place < len(changed):
                changed[place] = draw.randrange(256)
            case 1:
                order = draw.choice(("little", "big"))
                number = draw.choice(_NUMBERS).to_bytes(4, order)
                changed[place : place + 4] = number
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4:
                other = draw.randrange(len(changed) + 1)
                changed[place : place + length] = changed[other : other + length]
            case 5:
                changed[place:place] = draw.randbytes(length)
            case _ if draw.random() < 0.2:
                del changed[place:]
    return bytes(changed)


@contextmanager
def _little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < _MOST_EXTRA_BYTES


def _fuzz(make: Callable[[Path], Path], home: Path, cases: int) -> None:
    """Load `cases` damaged copies; those refused, and at least one is, name a path below `home`."""
    home.mkdir()
    spec = make(home)
    files = sorted(path for path in home.rglob("*") if path.is_file())
    contents = [path.read_bytes() for path in files]
    refused: list[str] = []
    with _little_memory():
        for case in range(cases):
            draw = random.Random(f"{make.__name__} {case}")
            number = draw.randrange(len(files))
            files[number].write_bytes(_mutated(contents[number], draw))
            try:
                data.load(str(spec))
            except EdgeKilnError as error:
                refused.append(error.message)
            except Exception as error:
                kept = shutil.copy(files[number], home.parent / f"case-{case}")
                pytest.fail(f"{make.__name__}, case {case} ({kept}): {error!r}")
            files[number].write_bytes(contents[number])
    assert refused
    assert [message for message in refused if str(home) not in message] == []
    data.load(str(spec))  # what was damaged is whole again: the cases were as meant


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("make", _KINDS, ids=lambda make: make.__name__.strip("_"))
def test_damaged_files_are_read_or_refused_by_name(make, tmp_path):
    _fuzz(make, tmp_path / "home", _SHORT // len(_KINDS))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("make", _KINDS, ids=lambda make: make.__name__.strip("_"))
def test_many_damaged_files_are_read_or_refused_by_name(make, tmp_path):
    cases = int(os.environ.get("EDGEKILN_FUZZ_CASES", str(_LONG)))
    _fuzz(make, tmp_path / "home", cases // len(_KINDS))
