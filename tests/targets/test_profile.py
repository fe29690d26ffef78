"""Profiles: inheritance, strictness, and what ships."""

from pathlib import Path

import pytest

from edgekiln.runtime.errors import ConfigError
from edgekiln.targets import profile
from edgekiln.targets.profile import load, names
from tests.compiler.kernels import harness

OWN = """
name = "mine"
extends = "x86-64-v3"
cores = 2
[tvm]
mcpu = "znver3"
[caches]
l2 = 524_288
"""


def written(directory: Path, text: str, name: str = "mine.toml") -> str:
    (directory / name).write_text(text)
    return str(directory / name)


def test_a_profile_inherits_key_by_key(tmp_path: Path) -> None:
    base, mine = load("x86-64-v3"), load(written(tmp_path, OWN))
    assert (mine.name, mine.base, mine.cores) == ("mine", "x86-64-v3", 2)
    assert mine.tvm == {**base.tvm, "mcpu": "znver3"}
    assert (mine.caches.l1d, mine.caches.l2) == (base.caches.l1d, 524_288)
    assert mine.features == base.features


def test_a_profile_may_extend_a_file_beside_it(tmp_path: Path) -> None:
    written(tmp_path, OWN)
    other = written(tmp_path, 'name = "other"\nextends = "mine.toml"\n', "other.toml")
    assert (load(other).cores, load(other).bases) == (2, ("mine", "x86-64-v3"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "x86-64-v3"\ncorse = 2\n', "mine.toml: unknown key 'corse'"),
        (
            'extends = "x86-64-v3"\ncores = "2"\n',
            "mine.toml: cores must be a whole number, found '2'",
        ),
        (
            'extends = "x86-64-v3"\n[toolchain]\ncflags = "-O3"\n',
            "mine.toml: toolchain: cflags must be a list, each item a string, found '-O3'",
        ),
        ("cores = 2\n", "mine.toml: name is missing"),
        ('extends = "mine.toml"\n', "mine.toml: extends mine.toml in a circle"),
        ('extends = "x86-64-v9"\n', "no target named 'x86-64-v9'"),
        ("extends = 3\n", "mine.toml: extends must be a string"),
        (
            'extends = "x86-64-v3"\nname = "mine"\n[tvm]\nnum-cores = nan\n',
            "target mine: [tvm]: Out of range float values are not JSON compliant",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text))
    assert error.value.message == message


def test_a_wrong_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as error:
        load("x86-avx512-vni")
    assert error.value.message == "no target named 'x86-avx512-vni'"
    assert error.value.hint == "did you mean x86-avx512-vnni?"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such target file: .*none\.toml"):
        load(str(tmp_path / "none.toml"))


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.toml: .*line 1"):
        load(written(tmp_path, "name = \n"))


@pytest.mark.parametrize("name", [name for name in names() if name != profile.HOST])
def test_every_profile_that_ships_is_whole(name: str) -> None:
    target = load(name)
    assert target.name == name
    assert target.description
    assert target.toolchain.packages
    levels = [size for size in vars(target.caches).values() if size]
    assert levels == sorted(levels)
    assert len(set(target.features)) == len(target.features)


@pytest.mark.parametrize("name", names())
def test_every_tvm_table_is_a_target_as_it_stands(name: str) -> None:
    from tvm.target import Target

    target = load(name)
    made = Target(dict(target.tvm))
    assert made.kind.name == target.tvm["kind"]
    assert target.gpu or str(made.attrs["mcpu"]) == target.tvm["mcpu"]


@pytest.mark.parametrize("name", names())
def test_every_profile_names_a_microkernel(name: str) -> None:
    from edgekiln.targets.isa import FLOAT32, MICROKERNELS

    assert load(name).isa in MICROKERNELS
    assert FLOAT32[load(name).isa] in MICROKERNELS


def test_every_microkernel_is_one_that_the_tests_of_kernels_run() -> None:
    from edgekiln.targets.isa import MICROKERNELS, WORDS

    here, emulated = harness.TARGETS | harness.FLOAT_TARGETS, harness.EMULATED
    run = {*here, *emulated, *harness.FLOAT_EMULATED, *harness.GPUS, *harness.FLOAT_GPUS}
    assert run | set(harness.SAME_INSTRUCTIONS) | set(WORDS.values()) == set(MICROKERNELS)
    assert set(harness.SAME_INSTRUCTIONS.values()) <= run


@pytest.mark.parametrize(("name", "other"), harness.SAME_INSTRUCTIONS.items())
def test_a_micro_kernel_with_costs_of_its_own_has_the_instructions_of_the_other(
    name: str, other: str
) -> None:
    from edgekiln.targets import isa

    mine, theirs = isa.load(name), isa.load(other)
    assert type(mine) is type(theirs)
    assert mine != theirs
    shape = ("activation", "lanes", "k_step", "x_bytes", "rows", "registers", "matrix")
    assert [getattr(mine, field) for field in shape] == [getattr(theirs, field) for field in shape]
