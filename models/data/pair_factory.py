"""A user's own data: `package.module:factory` gives samples with what they should be answered."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import numpy as np

from edgekiln.models import spec
from edgekiln.models.data.dataset import ONLY, Split, UnsplitData
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import Options
from edgekiln.models.data.sample_factory import Indexed, parts_in
from edgekiln.models.tasks.detection import NOTHING
from edgekiln.models.tasks.task import Array
from edgekiln.models.users_code import exits_are_errors
from edgekiln.models.zoo.factories import resolve
from edgekiln.runtime.errors import EdgeKilnError, InputError

_FORM = (
    "give (inputs, target) for each sample: inputs are an array, a tuple of them or a dict by the "
    "names of forward()'s arguments, the target a number, an array, or a dict by heads"
)


def read_pairs(name: str, arguments: Mapping[str, str], options: Options) -> UnsplitData:
    """All samples of a torch `Dataset`, a `DataLoader` or an iterable of (inputs, target); or of a
    dict of these: "train", and perhaps "test" and "val".

    It is read once: what it does at random is random once. Random changes of each epoch are those
    of the training stages.

    Raises:
        ConfigError, InputError: no such function, it raised, or what it gave is no such data.
    """
    made = resolve(spec.join(name, dict(arguments)))
    try:
        with exits_are_errors():
            found = made.call(**made.kwargs)
            given = parts_in(found) or {"train": found}
            parts = {part: _read(f"{name}: {part}", given[part], options.limit) for part in given}
    except EdgeKilnError:
        raise
    except Exception as error:  # whatever the user's own code does
        raise InputError(
            f"{name}: raised {type(error).__name__}: {error}",
            hint="call it in Python with the same arguments to see where",
        ) from error
    whole = given["train"]
    classes = getattr(whole, "classes", ())  # as torchvision's data sets have them
    return UnsplitData(
        classes=tuple(map(str, classes)) if isinstance(classes, list | tuple) else (),
        train=parts["train"],
        test=parts.get("test"),
        val=parts.get("val"),
        as_given=True,
    )


def _read(where: str, found: object, limit: int | None) -> Split:
    inputs: dict[str, list[Array]] = {}
    targets: dict[str, list[Array]] = {}
    size = count = 0
    for count, (sample, target) in enumerate(islice(_pairs(where, found), limit), start=1):
        for rows, values in ((inputs, _named(sample)), (targets, _named(target))):
            if count > 1 and set(rows) != set(values):
                raise InputError(
                    f"{where}: sample {count - 1} has {_listed(values)}, those before it "
                    f"{_listed(rows)}",
                    hint=_FORM,
                )
            for key, value in values.items():
                array = _array(f"{where}: sample {count - 1}", value)
                rows.setdefault(key, []).append(array)
                size += array.nbytes
        DATA.check(size, where, "give fewer samples: ?limit=500")
    if not count:
        raise InputError(f"{where}: gives no samples", hint=_FORM)
    return Split(
        inputs={key: _checked(where, key, _stacked(where, rows)) for key, rows in inputs.items()},
        targets={key: _stacked(where, _padded(rows)) for key, rows in targets.items()},
    )


def _pairs(where: str, found: object) -> Iterator[tuple[object, object]]:
    """Each sample with its target."""
    torch_data = sys.modules.get("torch.utils.data")
    loader = torch_data is not None and isinstance(found, torch_data.DataLoader)
    batched = loader and getattr(found, "batch_size", None) is not None
    for number, item in enumerate(_in_turn(where, found)):
        if not isinstance(item, tuple | list) or len(item) != 2:
            gave = type(item).__name__
            gave += f" of {len(item)}" if isinstance(item, tuple | list) else ""
            raise InputError(f"{where}: sample {number} is a {gave}", hint=_FORM)
        if not batched:
            yield item[0], item[1]
            continue
        columns = [{key: _array(where, v) for key, v in _named(side).items()} for side in item]
        for place in range(len(next(iter(columns[0].values())))):
            one = [{key: rows[place] for key, rows in side.items()} for side in columns]
            yield one[0], one[1]


def _in_turn(where: str, found: object) -> Iterable[object]:
    if isinstance(found, Indexed) and not isinstance(found, Mapping | str):
        return (found[index] for index in range(len(found)))
    if isinstance(found, Iterable) and not isinstance(found, Mapping | str):
        return found
    raise InputError(f"{where}: a {type(found).__name__} is no row of samples", hint=_FORM)


def _named(value: object) -> dict[str, object]:
    """Name the parts of a sample: those of a tuple are numbered."""
    if isinstance(value, Mapping):
        return {str(key): each for key, each in value.items()}
    if isinstance(value, tuple):
        return {str(place): each for place, each in enumerate(value)}
    return {ONLY: value}


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(key or "one array" for key in values)


def _array(where: str, value: object) -> Array:
    numpy = getattr(value, "numpy", None)  # a tensor of PyTorch's
    try:
        array: Array = np.asarray(numpy() if callable(numpy) else value)
    except ValueError as error:  # a list of lists of different lengths
        raise InputError(f"{where}: is no array: {error}", hint=_FORM) from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where}: is {array.dtype}, not numbers", hint=_FORM)
    return array


def _padded(rows: list[Array]) -> list[Array]:
    """Boxes, of which every picture has another number, filled up to the most."""
    if len({row.shape for row in rows}) == 1 or any(row.ndim != 2 for row in rows):
        return rows
    most = max(len(row) for row in rows)
    return [
        np.pad(row, ((0, most - len(row)), (0, 0)), constant_values=NOTHING)
        if row.shape[1:] == (5,)
        else row
        for row in rows
    ]


def _stacked(where: str, rows: list[Array]) -> Array:
    for number, row in enumerate(rows):
        if row.shape != rows[0].shape:
            raise InputError(
                f"{where}: sample {number} has the shape {row.shape}, sample 0 {rows[0].shape}",
                hint="all samples need one shape: resize, crop or pad them in the data set",
            )
    return np.stack(rows)


def _checked(where: str, key: str, array: Array) -> Array:
    of = f" of {key}" if key else ""
    if array.dtype.kind != "f":
        if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] not in (1, 3):
            raise InputError(
                f"{where}: images{of} are uint8 of shape {array.shape[1:]}",
                hint="put the channels last, (H, W, 1 or 3), or give floats",
            )
        return array
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        floats = array.astype(np.float32)
    bad = np.atleast_1d(~np.isfinite(floats.reshape(len(floats), -1)).all(axis=1))
    if bad.any():
        raise InputError(
            f"{where}: sample {int(bad.argmax())}{of} holds values that are not finite "
            f"({int(bad.sum())} of {len(bad)} samples do)",
            hint="leave these samples out, or fill in what is missing",
        )
    return floats
