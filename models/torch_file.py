"""Files of `torch.save`, read without running what is in them."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import open_regular, reading_hint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_SCRIPT, _PROGRAM = "a TorchScript archive", "an exported program (.pt2)"
_OTHER_HINT = {
    _SCRIPT: "its code cannot be trained: give package.module:factory and a state dict",
    _PROGRAM: "it is built as it is where the file's name ends in .pt2; to train the model, give "
    "package.module:factory and a state dict",
}
_OLD_FORMAT = b"\x80"  # how a pickle begins: torch.save wrote no zip files before version 1.6


def read_torch_file(path: Path) -> Any:  # whatever somebody saved
    """Tensors, plain values and containers of them.

    Raises:
        InputError: it holds anything else, is of another format, or damaged.
    """
    import pickle

    import torch

    try:
        open_regular(path).close()
    except OSError as error:
        hint = reading_hint(error, "check the path")
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"{path}: {reason}", hint) from error
    damaged = InputError(
        f"{path}: not a file of torch.save, or damaged", hint="check where it comes from"
    )
    if not zipfile.is_zipfile(path) and not _begins_with(path, _OLD_FORMAT):
        raise damaged
    if kind := _foreign_archive(path):
        raise InputError(
            f"{path}: is {kind}",
            hint=_OTHER_HINT[kind],
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds Python objects, not only tensors",
            hint="loading it could run code: save it by torch.save(model.state_dict(), path)",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged from error


def _begins_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _foreign_archive(path: Path) -> str | None:
    """What a zip file of torch's other formats is, by the members only they have."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        # torch puts all members into one folder, whose name does not count.
        members = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in members:
        return _SCRIPT
    if members & {"archive_format", "models/model.json", "serialized_exported_program.json"}:
        return _PROGRAM
    return None


def is_state(content: object) -> "TypeGuard[dict[str, Tensor]]":
    """Whether this is a dict of names and tensors."""
    import torch

    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in content.items()
    )


def check_plain(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """See that the tensors of a file hold numbers that a module's parameters can take.

    Raises:
        InputError: one is not dense, or holds codes, complex numbers or nothing.
    """
    for name, tensor in tensors.items():
        if fault := _fault(tensor):
            raise InputError(
                f"{path}: its tensor {name} {fault}",
                hint="save the state dict of a plain float model",
            )


def _fault(tensor: "Tensor") -> str | None:
    import torch

    if tensor.is_meta:
        return "has no numbers: it was saved from the device 'meta'"
    if tensor.layout is not torch.strided:
        return f"is {str(tensor.layout).removeprefix('torch.')}, not dense"
    if tensor.is_quantized:
        return "holds codes of a quantized model, not floats"
    return "is complex" if tensor.is_complex() else None
