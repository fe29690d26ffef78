"""What a reader found becomes a data set: targets as the task takes them, splits, preprocessing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Dataset, Split, UnsplitData, check_numbers
from edgekiln.models.data.images import shaped as as_images
from edgekiln.models.data.options import USUAL_LAYOUT, Options
from edgekiln.models.data.splits import size_of, stratified_order
from edgekiln.models.data.transform import transform_of
from edgekiln.models.tasks.classification import Classification
from edgekiln.models.tasks.heads import Head, described, heads_of
from edgekiln.models.tasks.task import Array
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.manifest import Preprocessing, preprocessing_fault

_TEST, _VAL, _CALIB = "0.2", "0.1", "0.1"  # of the samples that are not already a test part
_MAX_CALIB = 512  # more calibration samples do not move a range: by default no more are set aside


def assemble(name: str, source: UnsplitData, options: Options, seed: int) -> Dataset:
    """Split, resize, recolor, and work out the preprocessing."""
    source = _with_task(name, source, options)
    parts = _split(name, source, options, seed)
    heads = heads_of(source.task)
    shaped = {part: as_images(split, options, name, heads) for part, split in parts.items()}
    if options.transform:
        change = transform_of(options.transform)
        shaped = {part: _changed(split, change) for part, split in shaped.items()}
    for head in heads:
        if isinstance(head.task, Classification):
            _check_classes(name, head, source, shaped)
    return Dataset(
        name=name,
        classes=source.classes,
        task=source.task,
        preprocessing=_preprocessing(name, shaped["train"].x, options, source),
        numbers_given=(options.scale, options.mean, options.std) != (None, None, None),
        notes=(*source.notes, *_notes(shaped)),
        **shaped,
    )


def _changed(split: Split, change: Callable[[Array], Array]) -> Split:
    """The split with the samples of its first input changed."""
    first = next(iter(split.inputs))
    return replace(split, inputs={**split.inputs, first: change(split.x)})


def _with_task(name: str, source: UnsplitData, options: Options) -> UnsplitData:
    """The data with its targets in the form that the heads of its task take.

    Raises:
        ConfigError, InputError: no such task, or the targets are not for it.
    """
    task = options.task or source.task
    heads = heads_of(task)
    found = source.train.targets
    alone = len(heads) == 1 and len(found) == 1
    if not alone and {head.name for head in heads} != set(found):
        raise InputError(
            f"{name}: has targets of {', '.join(filter(None, found)) or 'one head'}; the task's "
            f"heads are {described(heads) or 'one without a name'}",
            hint="name the targets and the heads alike: --task digit=classification,ink=regression",
        )

    def checked(part: Split | None) -> Split | None:
        if part is None:
            return None
        given = part.targets
        targets = {
            head.name: head.task.checked(
                name if alone else f"{name}: {head.name}", part.y if alone else given[head.name]
            )
            for head in heads
        }
        return replace(part, targets=targets)

    train = checked(source.train)
    assert train is not None  # it was given
    whole = replace(
        source, task=task, train=train, test=checked(source.test), val=checked(source.val)
    )
    parts = [part for part in (whole.train, whole.test, whole.val) if part is not None]
    for place, head in enumerate(heads):
        if isinstance(head.task, Classification) and not (place == 0 and source.classes):
            where = f"{name}: {head.name}" if head.name else name
            check_numbers(where, [part.targets[head.name] for part in parts])
    present = [part.targets[heads[0].name] for part in parts]
    count = max(heads[0].task.classes_in(target) for target in present if len(target))
    if not count or (source.classes and (count <= len(source.classes))):
        return replace(whole, classes=source.classes if count or task == source.task else ())
    return replace(whole, classes=tuple(map(str, range(count))))


def _strata(source: UnsplitData, split: Split) -> NDArray[np.int64]:
    """What each part shall hold in proportion: the classes, where a head is about them."""
    for head in heads_of(source.task):
        if head.task.has_classes or source.task == "reconstruction":
            return split.targets[head.name].astype(np.int64)
    return np.zeros(len(split), np.int64)


def _split(name: str, source: UnsplitData, options: Options, seed: int) -> dict[str, Split]:
    order = stratified_order(_strata(source, source.train), seed)
    pool = source.train.take(order[: options.limit])
    count = len(pool)
    sizes = {
        "test": size_of("test", options.test or _TEST, count),
        "val": size_of("val", options.val or _VAL, count),
        "calib": size_of("calib", options.calib, count)
        if options.calib
        else min(size_of("calib", _CALIB, count), _MAX_CALIB),
    }
    parts: dict[str, Split] = {}
    for part, given, asked in (
        ("test", source.test, options.test),
        ("val", source.val, options.val),
    ):
        if given is not None:
            part_of_files = given.take(
                stratified_order(_strata(source, given), seed)[: options.limit]
            )
            have = len(part_of_files)
            wanted = size_of(part, asked, have) if asked else have
            parts[part] = part_of_files.take(np.arange(min(wanted, have)))
            # With files of its own it takes nothing from the pool.
            del sizes[part]
    begin = 0
    for part, size in sizes.items():
        parts[part] = pool.take(np.arange(begin, min(begin + size, count)))
        begin += size
    # All that the others leave.
    parts["train"] = pool.take(np.arange(min(begin, count), count))
    for part, split in parts.items():
        if len(split) == 0:
            raise InputError(
                f"{name}: no samples are left for the {part} split",
                hint="give more samples; of few, say how many go where: ?test=1&val=1&calib=1",
            )
    return parts


def _check_classes(name: str, head: Head, source: UnsplitData, parts: Mapping[str, Split]) -> None:
    targets = {part: split.targets[head.name] for part, split in parts.items()}
    count = max(head.task.classes_in(target) for target in targets.values())
    names = tuple(map(str, range(count)))
    if head.name == heads_of(source.task)[0].name:
        names = source.classes
    if len(names) < 2:
        only = ", ".join(names) or "none"
        raise InputError(
            f"{name}: all samples are of one class: {only}",
            hint="classification needs two or more; vectors without labels are reconstructed",
        )
    unseen = set(range(len(names))) - set(np.unique(targets["train"]).tolist())
    if unseen:
        of = f" {head.name}" if head.name else ""
        listed = ", ".join(names[label] for label in sorted(unseen))
        raise InputError(
            f"{name}: no training samples of{of} class {listed}",
            hint="every class needs samples to train on; small classes need more of them",
        )


def _preprocessing(
    name: str, x: Array, options: Options, source: UnsplitData
) -> Preprocessing | None:
    """How the first input's samples become the model's numbers; None: they are."""
    silent = (options.scale, options.mean, options.std) == (None, None, None)
    image = x.dtype == np.uint8 and x.ndim == 4
    if not image and silent and (x.dtype.kind != "f" or source.as_given):
        return None
    usual = 1 / 255 if x.dtype == np.uint8 else 1.0
    scale = usual if options.scale is None else options.scale
    channels = x.shape[-1] if image or source.by_column else 1
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if silent:
        mean, std = _moments(cast("NDArray[np.float32]", x).reshape(-1, channels), scale)
    given = {"mean": options.mean or mean, "std": options.std or std}
    for key, values in given.items():
        if len(values) not in (1, channels):
            raise ConfigError(
                f"data option {key}: {len(values)} numbers for {channels} channels",
                hint="give one number, or one for each channel",
            )
    made = Preprocessing(
        scale=scale,
        layout=(options.layout or USUAL_LAYOUT) if image else "N*" if x.ndim == 2 else "",
        color="L" if image and channels == 1 else "RGB",
        **given,
    )
    if fault := preprocessing_fault(made):
        raise InputError(f"{name}: {fault}", hint="bring the samples to numbers near 1")
    return made


def _moments(x: NDArray[np.float32], scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of (M, C) samples after scaling, six digits of each."""
    mean = x.mean(axis=0, dtype=np.float64) * scale
    std = x.std(axis=0, dtype=np.float64) * scale
    std[std == 0] = 1.0  # a constant channel: any divisor will do, but not 0
    return tuple(map(_rounded, mean)), tuple(map(_rounded, std))


def _rounded(number: float) -> float:
    # The last bits of a sum depend on numpy's version and must not change a fingerprint.
    return float(f"{number:.6g}")


def _digests(split: Split) -> Iterator[bytes]:
    for place in range(len(split)):
        sample = b"".join(array[place].tobytes() for array in split.inputs.values())
        yield blake2b(sample, digest_size=16).digest()


def _notes(parts: Mapping[str, Split]) -> list[str]:
    seen = {digest for part in ("train", "val", "calib") for digest in _digests(parts[part])}
    twice = sum(digest in seen for digest in _digests(parts["test"]))
    return [f"{twice} test samples are also training samples"] if twice else []
