"""Teachers' answers to augmented views of the training samples, kept so that a teacher runs once.

A view is what one epoch shows: its order, its augmentation and so its batches are functions of the
seed and the view's number. Epochs walk over K views again and again, and a teacher's answers to a
view are a file of the store, written while the view is first shown. The file's name is a hash of
all that the answers depend on, so that other students and other trials find it; a view that was
interrupted leaves none. That a teacher and its student see the very same view, and see it often, is
what Beyer et al. (arXiv:2106.05237) found to matter.

    32 bytes    SHA-256 of the file's name and what follows
    4 bytes     length of the header, little-endian
    header      JSON: names and shapes of the outputs, samples a batch, batches
    rows        float16, one a sample: its outputs, one after the other
"""

import contextlib
import hashlib
import io
import json
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.pipeline.atomic_io import free_bytes
from edgekiln.compiler.pipeline.fingerprint import code_sha256
from edgekiln.compiler.pipeline.object_cache import DIGEST_BYTES, hash_under
from edgekiln.runtime.codec import CodecError, decode, digest, encode
from edgekiln.runtime.errors import InputError, StorageError
from edgekiln.runtime.text import human_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edgekiln.compiler.training.batch import Batch
    from edgekiln.compiler.training.batches import Batches

    Answers = Mapping[str, Tensor]
    Ask = Callable[[int, Batch], Answers]  # the place of a teacher, and what it is shown

_FORMAT = 1
_LENGTH_BYTES = 4
# Of `Batches`, what does not change what is shown: the split is known by its hash.
_NOT_SHOWN = ("split", "channels_last")


@dataclass(frozen=True, kw_only=True)
class _Header:
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]  # of one sample
    samples: int  # in a batch
    batches: int

    @property
    def row(self) -> int:
        """The numbers of one sample."""
        return sum(int(np.prod(shape)) for shape in self.shapes)


@dataclass(frozen=True, kw_only=True)
class AnswerViews:
    """Where answers are kept, and whose.

    Args:
        root: the folder of the files.
        count: views of each sample.
        teachers: what each teacher is, see `identity`.
        augment: the code of the user's own change of batches; "" for none.
        task: says which targets hold images in place.
    """

    root: Path
    count: int
    teachers: tuple[str, ...]
    augment: str = ""
    task: str = ""

    def training(
        self, batches: "Batches", data: str, epoch: int, ask: "Ask", computed_in: str
    ) -> "Iterator[Batch]":
        """The batches of the view that an epoch shows, with what each teacher says of them.

        Args:
            data: a hash of the samples.
            ask: for answers that are not kept yet.
            computed_in: the numbers in which teachers answer, such as "float32".

        Raises:
            InputError: an answer is beyond float16.
            StorageError: the views will not fit the disk.
            OSError: the disk is full all the same, or broken.
        """
        view = epoch % self.count
        with ExitStack() as open_files:
            sources = [
                self._source(
                    self._path(teacher, batches, data, view, computed_in), open_files, view
                )
                for teacher in self.teachers
            ]
            for number, batch in enumerate(batches.training(view)):
                taught = []
                for place, source in enumerate(sources):
                    if isinstance(source, _Recorder):
                        answers = ask(place, batch)
                        taught.append(source.kept(answers, batches=len(batches)))
                    else:
                        taught.append(source.answers(number))
                yield replace(batch, taught=tuple(taught))
            for source in sources:
                if isinstance(source, _Recorder):
                    source.publish()

    def _path(
        self, teacher: str, batches: "Batches", data: str, view: int, computed_in: str
    ) -> Path:
        shown = {
            each.name: getattr(batches, each.name)
            for each in fields(batches)
            if each.name not in (*_NOT_SHOWN, "heads", "augment")
        }
        recipe = {
            "format": _FORMAT,
            "teacher": teacher,
            "data": data,
            "batches": encode(shown),
            "augment": {**encode(replace(batches.augment, own=None)), "own": self.augment},
            "task": self.task,
            "view": view,
            "computed_in": computed_in,
            "code": code_sha256("edgekiln.compiler.training.batches"),
            "torch": metadata.version("torch"),
        }
        return self.root / digest(recipe)

    def _source(self, path: Path, open_files: ExitStack, view: int) -> "_Recorder | _Kept":
        if (kept := _opened(path)) is not None:
            return kept
        return open_files.enter_context(_Recorder(path, views_to_come=self.count - view))


def identity(network: "nn.Module", code: str) -> str:
    """What a teacher is: a hash of its weights and of `code`, which says what is done with them."""
    import torch

    found = hashlib.sha256(code.encode())
    for name, tensor in network.state_dict().items():
        array = tensor.detach().cpu().contiguous()
        found.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        found.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


class _Kept:
    """A file that was written whole."""

    def __init__(self, path: Path, header: _Header, offset: int) -> None:
        self._header = header
        # Pages are read as they are needed, and are the system's to drop.
        self._rows: NDArray[np.float16] = np.memmap(
            path, np.float16, "r", offset, (header.batches, header.samples, header.row)
        )

    def answers(self, number: int) -> "Answers":
        """What was said of a batch: (samples, …) float32 by name."""
        return _split(np.array(self._rows[number]), self._header)


class _Recorder:
    """A file that is being written; it is there once `publish` was called."""

    def __init__(self, path: Path, views_to_come: int) -> None:
        self._path, self._views = path, views_to_come
        self._header: _Header | None = None
        self._hash = hash_under(path.name)

    def __enter__(self) -> "_Recorder":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A name with a dot in front, which housekeeping takes for what a killed run has left.
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        self._aside, self._file = Path(name), io.FileIO(handle, "w")
        self._file.write(bytes(DIGEST_BYTES))
        return self

    def __exit__(self, *_: object) -> None:
        # On a disk that is full closing may fail as well; the first error tells more.
        with contextlib.suppress(OSError):
            self._file.close()
        self._aside.unlink(missing_ok=True)

    def kept(self, answers: "Answers", batches: int) -> "Answers":
        """Write down the answers to the next batch; returns them as they will be read."""
        arrays = {name: answer.detach().float().cpu().numpy() for name, answer in answers.items()}
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            flat = [array.reshape(len(array), -1).astype(np.float16) for array in arrays.values()]
        if self._header is None:
            self._header = _Header(
                names=tuple(arrays),
                shapes=tuple(array.shape[1:] for array in arrays.values()),
                samples=len(flat[0]),
                batches=batches,
            )
            self._begin(self._header)
        rows = np.concatenate(flat, axis=1)
        for name, array in arrays.items():
            if np.isfinite(array).all() and np.abs(array).max(initial=0) > _LARGEST:
                raise InputError(
                    f"the teacher's output {name} has numbers up to {np.abs(array).max():.3g}, "
                    f"which float16 does not hold",
                    hint="--teacher-views 0 asks it anew in each epoch",
                )
        self._write(rows.tobytes())
        return _split(rows, self._header)

    def publish(self) -> None:
        """Give the file its name, by one rename."""
        self._file.seek(0)
        self._file.write(self._hash.digest())
        os.fsync(self._file.fileno())
        self._aside.chmod(0o644)  # others may share the store
        self._aside.replace(self._path)

    def _begin(self, header: _Header) -> None:
        needed = self._views * header.batches * header.samples * header.row * 2
        if (free := free_bytes(self._path)) < needed:
            raise StorageError(
                f"teacher-views: {self._views} views take {human_bytes(needed)} of the store "
                f"{self._path.parent.parent}, where {human_bytes(free)} are free",
                "take fewer views; `edgekiln cache gc` removes old artifacts",
            )
        text = json.dumps(encode(header)).encode()
        self._write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)

    def _write(self, content: bytes) -> None:
        self._hash.update(content)
        view = memoryview(content)
        while view:  # a file without a buffer may take less than it is given
            view = view[self._file.write(view) :]


_LARGEST = float(np.finfo(np.float16).max)


def _opened(path: Path) -> _Kept | None:
    """The file, if it is there and whole; one that is not is removed."""
    try:
        with path.open("rb") as file:
            stored = file.read(DIGEST_BYTES)
            whole = hashlib.file_digest(file, lambda: hash_under(path.name)).digest() == stored
            file.seek(DIGEST_BYTES)
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = decode(_Header, json.loads(file.read(length))) if whole else None
        if header is None:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)  # gc goes by the last use
        return _Kept(path, header, DIGEST_BYTES + _LENGTH_BYTES + length)
    except (OSError, CodecError, ValueError):
        return None


def _split(rows: "NDArray[np.float16]", header: _Header) -> "Answers":
    """Rows (samples, numbers) as outputs by name, float32."""
    import torch

    whole = torch.from_numpy(rows.astype(np.float32))
    widths = [int(np.prod(shape)) for shape in header.shapes]
    parts = torch.split(whole, widths, dim=1)
    return {
        name: part.reshape(len(rows), *shape)
        for name, part, shape in zip(header.names, parts, header.shapes, strict=True)
    }
