"""`edgekiln.toml`: which models for which targets, how each is built, and what it must hold.

[defaults]
targets = ["host", "x86-64-v3"]
gates = { min-accuracy = 0.9 }
[models.resnet8]                      # a zoo model: nothing more is needed
[models.keywords]
model = "nets/keywords.onnx"
[[overrides]]                         # later ones win over earlier ones, and over the models
target = "x86-*"
options.quantize.calibration = "mse"
gates.max-latency-us = 60
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edgekiln.compiler.build.recipe import Precision
from edgekiln.runtime.bench import MAX_SECONDS
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import from_table, read_toml

FILE = "edgekiln.toml"


@dataclass(frozen=True, kw_only=True)
class Gates:
    """What a bundle must hold. What is not set is not demanded, but for strict-int8."""

    min_accuracy: float | None = field(
        default=None,
        metadata={
            "help": "The least accuracy, or other share that is the task's metric, on the held-out "
            "samples, from 0 to 1 (default: no limit)."
        },
    )
    metrics: Mapping[str, float] = field(
        default_factory=dict,
        metadata={
            "help": "The limit of each metric, by its name or that of its head: the least where "
            "higher is better, else the most; shares from 0 to 1 (default: none)."
        },
    )
    min_sqnr_db: float | None = field(
        default=None,
        metadata={
            "help": "The least signal-to-noise ratio of the outputs against those of the float "
            "model, dB: the program's on samples without labels, else what `quantize` got "
            "(default: no limit)."
        },
    )
    max_latency_us: float | None = field(
        default=None,
        metadata={
            "help": "The highest median latency of one inference in microseconds (default: no "
            "limit)."
        },
    )
    max_bytes: int | None = field(
        default=None, metadata={"help": "The most bytes of code and weights (default: no limit)."}
    )
    max_arena_bytes: int | None = field(
        default=None, metadata={"help": "The most bytes of working memory (default: no limit)."}
    )
    max_energy_uj: float | None = field(
        default=None,
        metadata={
            "help": "The highest energy of one inference in microjoules (default: no limit)."
        },
    )
    strict_int8: bool | None = field(
        default=None,
        metadata={"help": "Whether no quantized operator may stay float (default: true)."},
    )
    max_accuracy_drop: float | None = field(
        default=None,
        metadata={
            "help": "The most percentage points of every task's metric that may be lost against "
            "the baseline; percent, where it is no share (default: no limit)."
        },
    )
    max_metric_drops: Mapping[str, float] = field(
        default_factory=dict,
        metadata={
            "help": "The same for single metrics, by their names or those of their heads "
            "(default: none)."
        },
    )
    max_slowdown: float | None = field(
        default=None,
        metadata={
            "help": "How many percent slower than the baseline it may be, beyond the noise of "
            "both (default: no limit)."
        },
    )
    front: str | None = field(
        default=None,
        metadata={
            "help": "The front.json of a search, no point of which may be better in all its "
            "objectives, beyond the spreads (default: none)."
        },
    )
    if_unmeasured: Literal["fail", "skip"] | None = field(
        default=None,
        metadata={"help": "What a limit means where nothing could be measured (default: fail)."},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set for everything, for a model, and for a glob of jobs."""

    recipe: str | None = field(
        default=None, metadata={"help": "The recipe file (default: the model's own recipe)."}
    )
    data: str | None = field(
        default=None,
        metadata={"help": "The data set, a name or a path (default: the model's own)."},
    )
    task: str | None = field(
        default=None,
        metadata={
            "help": "What the model is trained for and measured by, as in `edgekiln build --task` "
            "(default: what the data is for)."
        },
    )
    calibrate: str | None = field(
        default=None,
        metadata={
            "help": "The samples, which need no labels, for the ranges of quantization (default: "
            "the data set's)."
        },
    )
    shape: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "The sizes of an ONNX model's open extents, NAME=SIZE each (default: none)."
        },
    )
    seed: int | None = field(
        default=None, metadata={"help": "The seed of weights, splits and orders (default: 0)."}
    )
    skip: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "The stages to leave out, distill and prune (default: none)."},
    )
    options: Mapping[str, Any] = field(  # of any type: the stages check them
        default_factory=dict,
        metadata={"help": "The stages' options, which go before the recipe's."},
    )
    bench_seconds: float | None = field(
        default=None,
        metadata={
            "help": "How many seconds each of 5 latency trials lasts; 0 measures none (default: 1)."
        },
    )
    device: str | None = field(
        default=None,
        metadata={
            "help": "Where bundles are checked and measured: a name of devices.toml, or an address "
            "(default: this machine; QEMU checks what it cannot run)."
        },
    )
    gates: Gates = field(default_factory=Gates, metadata={"help": "What a bundle must hold."})

    def __post_init__(self) -> None:
        if self.bench_seconds is not None and not 0 <= self.bench_seconds <= MAX_SECONDS:
            raise ConfigError(
                f"bench-seconds = {self.bench_seconds:g}",
                f"0 measures none; at most {MAX_SECONDS:g}",
            )


@dataclass(frozen=True, kw_only=True)
class Defaults(Settings):
    """What goes for every model that does not say otherwise."""

    targets: tuple[str, ...] = field(
        default=("host",),
        metadata={"help": "The target profiles, by name or file (default: host)."},
    )
    precisions: tuple[Precision, ...] = field(
        default=("int8",),
        metadata={"help": "The number formats to build, int8 and float32 (default: int8)."},
    )


@dataclass(frozen=True, kw_only=True)
class Model(Settings):
    """What is set for one model."""

    model: str = field(
        default="",
        metadata={
            "help": "A zoo name, package.module:factory, .pt or .onnx (default: the section)."
        },
    )
    targets: tuple[str, ...] | None = field(
        default=None, metadata={"help": "The targets, in place of the defaults'."}
    )
    precisions: tuple[Precision, ...] | None = field(
        default=None, metadata={"help": "The number formats, in place of the defaults'."}
    )


@dataclass(frozen=True, kw_only=True)
class Override(Settings):
    """Settings for the jobs that all three globs match."""

    model: str = field(default="*", metadata={"help": "A glob of section names."})
    target: str = field(default="*", metadata={"help": "A glob of target names."})
    precision: str = field(default="*", metadata={"help": "A glob of precisions."})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of a configuration file."""

    defaults: Defaults = field(
        default_factory=Defaults, metadata={"help": "What goes for every model and target."}
    )
    models: Mapping[str, Model] = field(metadata={"help": "How each model is built, by its name."})
    overrides: tuple[Override, ...] = field(
        default=(), metadata={"help": "What goes for globs of models and targets; later ones win."}
    )


def load(path: Path) -> Config:
    """Read and check a file.

    Raises:
        ConfigError: unreadable, an unknown key (with a suggestion) or a wrong type.
    """
    try:
        table = read_toml(path, "it is a TOML file")
    except FileNotFoundError:
        raise ConfigError(
            f"no such file: {path}", "`edgekiln ci --help` shows how one looks"
        ) from None
    config = from_table(Config, table, path.name)
    if not config.models:
        raise ConfigError(f"{path.name}: no model", "add a section such as [models.resnet8]")
    return config


def merged(*layers: Settings) -> Settings:
    """Lay one over the other; the last wins, key by key inside `options` and `gates`."""
    names = [f.name for f in fields(Settings) if f.name not in ("options", "gates")]
    values: dict[str, Any] = {}  # of any type: they were checked when they were read
    gates: dict[str, Any] = {}  # as `values`
    options: dict[str, object] = {}
    for layer in layers:
        # None is what a layer does not say, so that what lies below it stays.
        values |= {name: value for name in names if (value := getattr(layer, name)) is not None}
        for stage, table in layer.options.items():
            below = options.get(stage)
            if isinstance(table, Mapping) and isinstance(below, Mapping):
                options[stage] = {**below, **table}
            else:
                options[stage] = table
        for f in fields(Gates):
            value = getattr(layer.gates, f.name)
            if isinstance(value, Mapping):
                gates[f.name] = {**gates.get(f.name, {}), **value}
            elif value is not None:
                gates[f.name] = value
    return Settings(**values, options=options, gates=Gates(**gates))
