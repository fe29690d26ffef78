"""A data set is read once for all stages of a build, and again when its files change."""

from pathlib import Path

import numpy as np

from edgekiln.models.data import load


def written(path: Path, seed: int, samples: int = 60) -> str:
    draw = np.random.default_rng(seed)
    np.savez(
        path,
        x=draw.integers(0, 255, (samples, 8, 8, 3), dtype=np.uint8),
        y=np.arange(samples) % 3,
    )
    return str(path)


def test_the_same_data_is_read_once(tmp_path: Path) -> None:
    spec = written(tmp_path / "a.npz", seed=0)
    assert load(spec) is load(spec)
    assert load(spec, seed=1).fingerprint != load(spec).fingerprint


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    spec = written(tmp_path / "a.npz", seed=0)
    before = load(spec).fingerprint
    written(tmp_path / "a.npz", seed=1)
    assert load(spec).fingerprint != before
