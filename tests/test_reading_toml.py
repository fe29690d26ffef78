"""TOML files of anybody: read, or one error that names the file and the key."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.compiler.build import recipe
from edgekiln.compiler.ci import config
from edgekiln.runtime.device.address import named
from edgekiln.runtime.errors import ConfigError
from edgekiln.targets import profile

READERS: dict[str, Callable[[Path], object]] = {
    "recipe": recipe.load,
    "configuration": config.load,
    "profile": lambda path: profile.load(str(path)),
    "devices": lambda _: named(),
}
MINE = 'extends = "rpi5"\nname = "mine"\n'


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 20_000, "a = " + "{a=" * 20_000, "[a" + ".a" * 5_000 + "]\n",
        "a" + ".a" * 5_000 + " = 1\n", f"seed = {'9' * 5_000}\n", "a = 1\na = 2\n", "a = \x00\n",
    ],
)  # fmt: skip
def test_no_text_is_too_strange_to_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, text: str
) -> None:
    path = tmp_path / "strange.toml"
    path.write_text(text)
    monkeypatch.setenv("EDGEKILN_DEVICES", str(path))
    with pytest.raises(ConfigError, match=r"strange\.toml") as caught:
        READERS[reader](path)
    assert len(caught.value.message) < 500


def test_whole_numbers_have_64_bits(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    path.write_text(f"[distill]\nepochs = {'9' * 30}\n")
    with pytest.raises(ConfigError) as caught:
        recipe.load(path)
    assert caught.value.message == (
        "big.toml: [distill]: epochs must be a whole number that 64 bits hold"
    )


@pytest.mark.parametrize("way", ["mine.toml", "./mine.toml", "../{home}/mine.toml", "link.toml"])
def test_a_profile_that_extends_itself_is_refused_whatever_it_calls_itself(
    tmp_path: Path, way: str
) -> None:
    (tmp_path / "link.toml").symlink_to("mine.toml")
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "{way.format(home=tmp_path.name)}"\n')
    with pytest.raises(ConfigError, match="in a circle") as caught:
        profile.load(str(path))
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cores = 0", "target mine: cores = 0"),
        ("channel-multiple = 0", "target mine: channel-multiple = 0"),
        ("channel-multiple = -8", "target mine: channel-multiple = -8"),
        ("caches = { l1d = -1, l2 = 1, l3 = 0 }", "target mine: l1d = -1"),
        ("memory = { flash-bytes = 0, ram-bytes = 1 }", "target mine: flash-bytes = 0"),
        ("cores = 4611686018427387904", "target mine: cores = 4611686018427387904"),
    ],
)
def test_a_profile_of_no_device_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE + text)
    with pytest.raises(ConfigError) as caught:
        profile.load(str(path))
    assert caught.value.message == message


@pytest.mark.parametrize("name", ["", "../mine", "a/b", "a\\nb", ".", "-x", "\\u001b[31m"])
def test_a_profiles_name_can_be_a_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "rpi5"\nname = "{name}"\n')
    with pytest.raises(ConfigError, match="target name = "):
        profile.load(str(path))
    path.write_text('extends = "rpi5"\nname = "my board (2)"\n')
    assert profile.load(str(path)).name == "my board (2)"


@pytest.mark.parametrize(
    ("stage", "key", "least"),
    [
        ("distill", "epochs", 1), ("distill", "teacher_epochs", 0), ("distill", "patience", 0),
        ("distill", "warmup_epochs", 0), ("prune", "recovery_epochs", 0),
        ("prune", "sparsity_epochs", 0), ("quantize", "qat_epochs", 0),
    ],
)  # fmt: skip
def test_epochs_have_a_limit_that_is_named(stage: str, key: str, least: int) -> None:
    cls = recipe.stage_class(stage)
    for number in (10**30, 1_000_001, least - 1):
        with pytest.raises(ConfigError) as caught:
            cls(**{key: number})
        assert caught.value.hint.endswith("at most 1000000")
    cls(**{key: 1_000_000})
