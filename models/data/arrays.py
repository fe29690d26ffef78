"""NumPy archives, read without trusting them: sizes are checked before memory is taken."""

import math
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgekiln.models.data.limits import check_size
from edgekiln.runtime.errors import EdgeKilnError, InputError

Arrays = dict[str, NDArray[np.generic]]

_SUFFIX = ".npy"
_KINDS = "biufSU"  # plain numbers and text
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_WRITTEN_BY_NUMPY = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_archive(path: Path) -> Arrays:
    """The arrays of an `.npz` file by name; they cannot be written to.

    Raises:
        InputError: not an archive, damaged, pickled, or larger than is held in memory; the message
            names the file and, where it is one of its members, that.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a NumPy archive, or damaged", hint="is the file complete?")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if item.filename.endswith(_SUFFIX)]
            check_size(
                str(path),
                sum(member.file_size for member in members),
                "arrays",
                "save fewer samples",
            )
            return {
                member.filename.removesuffix(_SUFFIX): _read(archive, member, path)
                for member in members
            }
    except EdgeKilnError:
        raise
    except Exception as error:  # a damaged directory can raise anything
        raise InputError(
            f"{path}: not a NumPy archive, or damaged", hint="is the file complete?"
        ) from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> NDArray[np.generic]:
    where = f"{path}: {member.filename}"
    if member.flag_bits & 1 or member.compress_type not in _WRITTEN_BY_NUMPY:
        raise InputError(
            f"{where}: is encrypted or compressed in a way that NumPy does not write",
            hint="save the arrays by np.savez",
        )
    try:
        with archive.open(member) as file:
            # One byte more than is announced: a member that goes on is not believed.
            content = file.read(member.file_size + 1)
        return _parse(content, where)
    except EdgeKilnError:
        raise
    except Exception as error:  # damaged bytes can raise anything in zlib and NumPy's parser
        raise InputError(f"{where}: damaged", hint="is the file complete?") from error


def _parse(content: bytes, where: str) -> NDArray[np.generic]:
    """An array from the bytes of an `.npy` file, without a copy of them."""
    file = BytesIO(content)
    shape, fortran_order, dtype = _READERS[npy.read_magic(file)](file)
    if dtype.hasobject:
        raise InputError(
            f"{where}: holds Python objects, not only numbers",
            hint="loading it could run code: save plain arrays, np.savez(path, x=…, y=…)",
        )
    if dtype.kind not in _KINDS:
        raise InputError(
            f"{where}: holds {dtype}, expected plain numbers or text",
            hint="save plain arrays, np.savez(path, x=…, y=…)",
        )
    data = content[file.tell() :]
    _check_length(shape, dtype, len(data), where)
    if not data:
        return np.empty(shape, dtype)
    flat: NDArray[np.generic] = np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _check_length(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], found_bytes: int, where: str
) -> None:
    if min(shape, default=0) < 0:
        raise ValueError(shape)
    wanted_bytes = math.prod(shape) * dtype.itemsize
    if wanted_bytes != found_bytes:
        raise InputError(
            f"{where}: {found_bytes} bytes of data, its header says {wanted_bytes}",
            hint="is the file complete?",
        )
