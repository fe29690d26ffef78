"""The tasks of a model by name: `regression?metric=mae`, `mine:task`, `digit=classification,…`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from edgekiln.models import spec
from edgekiln.models.tasks.classification import Classification
from edgekiln.models.tasks.detection import ObjectDetection
from edgekiln.models.tasks.embedding import Embedding
from edgekiln.models.tasks.language_modelling import LanguageModelling
from edgekiln.models.tasks.multi_label import MultiLabel
from edgekiln.models.tasks.recommendation import Recommendation
from edgekiln.models.tasks.reconstruction import Reconstruction
from edgekiln.models.tasks.regression import Regression
from edgekiln.models.tasks.segmentation import Segmentation
from edgekiln.models.tasks.sequence_labelling import SequenceLabelling
from edgekiln.models.tasks.task import LearningTask
from edgekiln.models.users_code import exits_are_errors
from edgekiln.models.zoo.factories import resolve
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.hints import fields_of
from edgekiln.runtime.typed import convert, did_you_mean, kebab

TASKS: Mapping[str, type[LearningTask]] = {
    "classification": Classification,
    "detection": ObjectDetection,
    "embedding": Embedding,
    "language-modelling": LanguageModelling,
    "multi-label": MultiLabel,
    "recommendation": Recommendation,
    "reconstruction": Reconstruction,
    "regression": Regression,
    "segmentation": Segmentation,
    "sequence-labelling": SequenceLabelling,
}

ONLY = ""  # the name of the head of a model that has one task
_WEIGHT = "weight"  # of a head's loss among the others'


@dataclass(frozen=True, kw_only=True)
class Head:
    """One task of a model, and the weight of its loss."""

    name: str
    task: LearningTask
    weight: float = 1.0


@lru_cache(maxsize=16)
def heads_of(text: str) -> tuple[Head, ...]:
    """The heads that a spec of tasks names, in its order.

    `"classification"`, `"regression?metric=mae"` and `"package.module:factory"` are one task;
    `"digit=classification,ink=regression?weight=0.5"` names the heads of several, as the model
    names its outputs.

    Raises:
        ConfigError: no such task or option, or a head is named twice or not at all.
        InputError: a factory raised, or what it gave is no task.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and not _head_name(parts[0]):
        return (_head(ONLY, parts[0]),)
    heads: list[Head] = []
    for part in parts:
        name = _head_name(part)
        if not name:
            raise ConfigError(
                f"task {part!r}: which of the heads?",
                hint="name each of several: --task digit=classification,ink=regression",
            )
        if any(head.name == name for head in heads):
            raise ConfigError(f"task: head {name!r} is named twice", hint="keep one of the two")
        heads.append(_head(name, part.partition("=")[2]))
    return tuple(heads)


def is_known(text: str) -> bool:
    """Whether a spec names tasks alone that there are, and functions; nothing is called."""
    parts = (part.strip() for part in text.split(","))
    named = (part.partition("=")[2] if _head_name(part) else part for part in parts)
    return all(":" in name or name in TASKS for part in named for name in [part.partition("?")[0]])


def references_in(text: str) -> tuple[str, ...]:
    """The functions of users' that a spec of tasks names."""
    parts = (part.strip() for part in text.split(","))
    named = (part.partition("=")[2] if _head_name(part) else part for part in parts)
    return tuple(name for part in named if ":" in (name := part.partition("?")[0]))


def described(heads: Sequence[Head]) -> str:
    """The heads' names, or none, for messages."""
    return ", ".join(head.name for head in heads if head.name)


def _head_name(part: str) -> str:
    """What stands before the `=` that names a head; "" where there is none."""
    # Behind a "?" an equals sign belongs to an option.
    before = part.partition("?")[0]
    name, equals, _ = before.partition("=")
    return name.strip() if equals else ""


def _head(name: str, text: str) -> Head:
    base, options = spec.split(text)
    weight = spec.typed(options.pop(_WEIGHT, "1"))
    if not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise ConfigError(f"task {text}: weight = {weight}", hint="give a positive number")
    return Head(name=name, task=_task(base, options), weight=float(weight))


def _task(base: str, options: Mapping[str, str]) -> LearningTask:
    if ":" in base:
        return _own(base, options)
    if base not in TASKS:
        hint = did_you_mean(base, TASKS, what="tasks are")
        raise ConfigError(f"no task named {base!r}", f"{hint} Or give package.module:factory")
    cls = TASKS[base]
    hints = fields_of(cls)
    known = {kebab(field.name): field.name for field in fields(cls)}
    values: dict[str, object] = {}
    for key, text in options.items():
        if kebab(key) not in known:
            raise ConfigError(
                f"task {base}: no option {key!r}",
                did_you_mean(key, known, what="options are") if known else "it has none",
            )
        name = known[kebab(key)]
        values[name] = convert(_typed(text, name), hints[name], f"task {base}: {key}")
    return cls(**values)


def _typed(text: str, name: str) -> spec.Value:
    # A unit is text, even one that reads as a number or a truth value.
    return text if name == "unit" else spec.typed(text)


def _own(reference: str, options: Mapping[str, str]) -> LearningTask:
    made = resolve(spec.join(reference, dict(options)))
    try:
        with exits_are_errors():
            task = made.call(**made.kwargs)
    except Exception as error:  # whatever the user's own function does
        raise InputError(
            f"{reference}: raised {type(error).__name__}: {error}",
            hint="call it in Python with the same arguments to see where",
        ) from error
    if not isinstance(task, LearningTask):
        raise InputError(
            f"{reference}: gave {type(task).__name__}, which is no task",
            hint="return an object of a class derived from edgekiln.models.tasks.LearningTask",
        )
    return task
