"""A data set's samples in the form one model takes them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import samples
from edgekiln.compiler.onnx_model.ends.columns import held
from edgekiln.compiler.onnx_model.model_inputs import Inputs, ModelInput, ModelInputs
from edgekiln.models.data.dataset import ONLY
from edgekiln.models.data.options import Options
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    from edgekiln.compiler.onnx_model.io import Meta
    from edgekiln.models.data.dataset import Dataset, Split
    from edgekiln.models.data.unlabelled import SampleSet
    from edgekiln.models.tasks.heads import Head
    from edgekiln.models.tasks.task import OutputFacts

PartName = Literal["train", "val", "calib", "test"]


@dataclass(frozen=True, kw_only=True)
class FeedPart:
    """Raw samples, (N, …) by input; and what is to be answered, (N, …) by head, where they have
    labels.
    """

    inputs: Inputs
    targets: Inputs = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Samples, and the preprocessing that makes them one model's inputs.

    Args:
        preprocessing: of each input that has any.
        scored: whether the labels of the test part tell how good a model is.
    """

    name: str
    takes: ModelInputs
    parts: Mapping[PartName, FeedPart]
    preprocessings: Mapping[str, Preprocessing] = field(default_factory=dict)
    scored: bool = False
    classes: tuple[str, ...] = ()
    task: str = ""
    heads: "tuple[Head, ...]" = ()
    facts: "Mapping[str, OutputFacts]" = field(default_factory=dict)  # by head
    notes: tuple[str, ...] = ()

    @property
    def preprocessing(self) -> Preprocessing | None:
        """That of the first input, which a model's file and a program's description hold."""
        return self.preprocessings.get(self.takes.inputs[0].name)

    def count(self, part: PartName) -> int:
        """How many samples a part has: of streams, the steps of all."""
        held = self.parts[part]
        if not self.takes.states:
            return len(held)
        first = next(iter(held.inputs.values()))
        return len(first) * int(first.shape[1])

    def targets(self, part: PartName) -> Inputs:
        """What is to be answered, (N, …) by head; only where it is `scored`."""
        return self.parts[part].targets

    def batches(self, part: PartName, *, batch: int, samples: int = 0) -> Iterator[Inputs]:
        """The inputs of calls of at most `batch` samples: the first `samples` of the part (0: all),
        in its own order. A model without a batch gets them one by one; one that remembers, as many
        streams as have so many steps.
        """
        held = self.parts[part]
        count = min(samples or len(held), len(held))
        if self.takes.states:
            steps = next(iter(held.inputs.values())).shape[1]
            count = min(-(-(samples or len(held) * steps) // steps), len(held))
        step = batch if self.takes.batched else 1
        for start in range(0, count, step):
            yield self._ready(held.inputs, slice(start, min(start + step, count)))

    def _ready(self, raw: Inputs, part: slice) -> Inputs:
        ready = {}
        for each in self.takes.inputs:
            given, numbers = raw[each.name][part], self.preprocessings.get(each.name)
            if self.takes.states:
                flat = samples.ready(given.reshape(-1, *given.shape[2:]), each, numbers)
                # (streams, T, …): all streams take a step at once.
                array = flat.reshape(*given.shape[:2], *each.shape).swapaxes(0, 1)
                ready[each.name] = array if self.takes.batched else array[:, 0]
                continue
            array = samples.ready(given, each, numbers)
            # Without a batch a call takes the sample itself, and not (1, …).
            ready[each.name] = array if self.takes.batched else np.asarray(array[0])
        return ready


def feed_for(meta: "Meta", takes: ModelInputs, *, data: str, seed: int) -> Feed:
    """Load the data a model is calibrated and judged on.

    Args:
        meta: what the model says about itself. Its preprocessing, when given, is used as it is:
            the weights were trained with it. Otherwise the data's is, in the layout that fits.
        takes: the model's inputs.
        data: spec of the data; "" takes what the model names.

    Raises:
        ConfigError: no data given and none named by the model, or only a function.
        InputError: samples and model differ in shape or type, or nothing says how pixels become
            the model's numbers; the message holds both.
    """
    from edgekiln.models.data import is_unlabelled, load, load_samples
    from edgekiln.models.data.sample_factory import not_called

    spec = data or samples.own_data(meta)
    if not spec and meta.data:
        raise not_called("the model", meta.data)
    if not spec:
        raise ConfigError(
            "the model does not name the data it was trained on",
            hint="say which to use: --data digits, or a folder, .npz, IDX or CIFAR file; samples "
            "without labels will do: --calibrate pictures/",
        )
    if is_unlabelled(spec):
        size, color = samples.picture_of(takes.inputs[0], meta)
        found = load_samples(
            spec,
            seed,
            size=size,
            color=color,
            frame=math.prod(takes.inputs[0].shape),
            streams=bool(takes.states),
        )
        return _of_samples(found, spec, meta, takes)
    samples.check_are_raw(spec, columns=bool(held(meta.before)))
    return _of_dataset(load(spec, seed), spec, meta, takes)


def completed(meta: "Meta", feed: Feed, data: str) -> "Meta":
    """What the model says about itself, and what the data set knows where it says nothing."""
    return replace(
        meta,
        preprocessing=meta.preprocessing or feed.preprocessing,
        labels=meta.labels or feed.classes,
        data=meta.data or data,
        task=meta.task or feed.task,
    )


def _of_samples(found: "SampleSet", spec: str, meta: "Meta", takes: ModelInputs) -> Feed:
    arrays = {
        each.name: _shaped(_array_of(found, each, takes, spec), each, takes, meta, spec)
        for each in takes.inputs
    }
    preprocessings = {}
    said = samples.options_of_inputs(arrays, takes, found.options, spec)
    for place, each in enumerate(takes.inputs):
        # A model's file holds the preprocessing of its first input alone.
        own = meta.preprocessing if place == 0 else None
        shown = arrays[each.name][0] if takes.states else arrays[each.name]
        made = samples.preprocessing(shown, each, own, said[each.name], spec)
        if made is not None:
            preprocessings[each.name] = made
    # Nothing is trained on samples that have no labels.
    parts: dict[PartName, FeedPart] = {
        "train": FeedPart(inputs={key: array[:0] for key, array in arrays.items()})
    }
    for part in ("val", "calib", "test"):
        inputs = {
            key: array[_rows(found.parts[part], len(array) // len(found))]
            for key, array in arrays.items()
        }
        parts[part] = FeedPart(inputs=inputs)
    return Feed(
        name=spec, takes=takes, parts=parts, preprocessings=preprocessings, notes=found.notes
    )


def _rows(chosen: NDArray[np.int64], each: int) -> NDArray[np.int64]:
    """The rows of items of an array that has `each` of them an item: whole calls stay together."""
    return (chosen[:, None] * each + np.arange(each)).reshape(-1)


def _shaped(
    array: NDArray[np.generic], each: ModelInput, takes: ModelInputs, meta: "Meta", spec: str
) -> NDArray[np.generic]:
    """The samples of one input, (N, …); of a model that remembers, its streams, (N, T, …)."""
    if not takes.states:
        return samples.shaped(array, each, takes, meta, spec)
    if array.ndim < 2 + len(each.shape):
        raise InputError(
            f"{spec} has samples of shape {array.shape[1:]}, the model remembers and takes streams",
            hint=f"give (streams, steps, {', '.join(map(str, each.shape))}), or say how many steps "
            "in a row are a stream: 'PATH?steps=64'",
        )
    flat = samples.shaped(array.reshape(-1, *array.shape[2:]), each, takes, meta, spec)
    return flat.reshape(*array.shape[:2], *flat.shape[1:])


def _array_of(
    found: "SampleSet", each: ModelInput, takes: ModelInputs, spec: str
) -> NDArray[np.generic]:
    """The samples of one input: by its name, or the only ones there are."""
    if each.name in found.arrays:
        return found.arrays[each.name]
    if len(takes.inputs) == 1:
        from edgekiln.models.data.npz import SAMPLES

        for name in (ONLY, *SAMPLES):
            if name in found.arrays:
                return found.arrays[name]
    names = ", ".join(filter(None, found.arrays))
    raise InputError(
        f"{spec} has no samples of input {each.name!r}; it has {names}"
        if names
        else f"{spec} has samples of one input; the model takes {len(takes.inputs)}",
        hint=f"the model takes {described(takes)}: name the arrays of a .npz so, or give dicts "
        "from package.module:factory",
    )


def described(takes: ModelInputs) -> str:
    """ "float32 x (3, 32, 32), int64 tokens (128,)", of one sample."""
    return ", ".join(f"{each.dtype} {each.name} {each.shape}" for each in takes.inputs)


def _of_dataset(dataset: "Dataset", spec: str, meta: "Meta", takes: ModelInputs) -> Feed:
    if takes.states:
        raise InputError(
            f"{spec} has labelled samples, the model remembers and takes streams",
            hint="give streams without labels: --calibrate streams.npy of (streams, steps, …)",
        )
    names = _matched(dataset, spec, takes)
    preprocessings = {}
    # A model's file, and the data, say it of their first input alone, which may be two.
    first = next(iter(dataset.train.inputs))
    for place, each in enumerate(takes.inputs):
        known = meta if place == 0 else replace(meta, preprocessing=None)
        if names[each.name] == first:
            made = samples.of_dataset(dataset, each, known, spec)
        else:
            array = dataset.test.inputs[names[each.name]]
            samples.shaped(array, each, takes, meta, spec)
            made = samples.preprocessing(array, each, known.preprocessing, Options(), spec)
        if made is not None:
            preprocessings[each.name] = made
    splits: dict[PartName, Split] = {
        "train": dataset.train, "val": dataset.val, "calib": dataset.calib, "test": dataset.test,
    }  # fmt: skip
    parts = {
        part: FeedPart(
            inputs={new: split.inputs[old] for new, old in names.items()}, targets=split.targets
        )
        for part, split in splits.items()
    }
    return Feed(
        name=dataset.name,
        takes=takes,
        parts=parts,
        preprocessings=preprocessings,
        scored=dataset.scored,
        classes=dataset.classes,
        task=dataset.task,
        heads=dataset.heads,
        facts={head.name: dataset.facts(head) for head in dataset.heads},
    )


def _matched(dataset: "Dataset", spec: str, takes: ModelInputs) -> dict[str, str]:
    """The model's inputs, each with the name that the data set has for it: the same, or, of a
    single input and of tuples, its place.
    """
    given, wanted = list(dataset.train.inputs), [each.name for each in takes.inputs]
    if set(given) == set(wanted):
        return {name: name for name in wanted}
    numbered = all(name.isdecimal() for name in given)
    if len(given) == len(wanted) and (len(given) == 1 or numbered):
        return dict(zip(wanted, given, strict=True))
    gives = "one input" if len(given) == 1 else f"{len(given)} in a tuple"
    if given[0] != ONLY and not numbered:
        gives = ", ".join(given)
    raise InputError(
        f"{spec} fills {gives}, the model takes {described(takes)}",
        hint="give samples by these names: dicts from package.module:factory; without labels, a "
        f".npz of arrays that are named so: --calibrate 'PATH.npz?inputs={','.join(wanted)}'",
    )
