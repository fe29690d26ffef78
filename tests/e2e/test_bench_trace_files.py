"""`edgekiln bench --trace`: by which seed it splits data, and where it writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.pipeline import source_models
from edgekiln.models import data as datasets
from edgekiln.runtime import load
from tests.compiler.nested_models import IMAGE
from tests.e2e.test_bench_trace import QUICK, bench, bundle

__all__ = ["bundle"]  # a fixture


def test_data_are_split_by_the_seed_that_the_bundle_was_built_with(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    data = tmp_path / "data.npz"
    pictures = draw.normal(size=(100, 3, IMAGE, IMAGE)).astype(np.float32)
    np.savez(data, x=pictures, y=draw.integers(0, 10, 100))
    records: tuple[Any, ...] = (
        {"options": {"seed": 5}}, {"options": {"seed": "x"}}, {"options": 1}, {},
    )  # fmt: skip
    monkeypatch.setattr(source_models, "_provenance", lambda _: records)
    day = ("time_s,runs\n0,5\n", "--data", f"{data}?mean=0&std=1", "--json")
    net = load(bundle)
    for given, seed in (((), 5), (("--seed", "7"), 7)):
        report = json.loads(bench(bundle, tmp_path, *day, *given).stdout)
        kept = datasets.load(str(data), seed).test
        right = np.concatenate([np.asarray(net(x[None])) for x in kept.x]).argmax(1) == kept.y
        assert report["seed"] == seed
        assert report["scores"][0]["value"] == pytest.approx(right.mean())


def test_a_result_takes_the_place_of_nothing_that_is_read(bundle: Path, tmp_path: Path) -> None:
    copy, day = tmp_path / "net.ekb", tmp_path / "day.csv"
    copy.write_bytes(bundle.read_bytes())
    day.write_text("time_s\n0\n")
    base = ["bench", str(copy), *QUICK, "--trace", str(day)]
    for out in (
        ("--costs", str(copy)), ("--page", str(day)), ("--page", f"{tmp_path}/./net.ekb"),
        ("--page", str(tmp_path / "x"), "--costs", str(tmp_path / "x")),
    ):  # fmt: skip
        result = CliRunner().invoke(edgekiln, [*base, *out])
        assert result.exit_code == 2, result.output
        assert "it is read, or written, by this very command, too" in result.output
    assert copy.read_bytes() == bundle.read_bytes()
    assert day.read_text() == "time_s\n0\n"
    assert not (tmp_path / "x").exists()
    page = tmp_path / "new" / "folder" / "day.html"
    result = CliRunner().invoke(edgekiln, [*base, "--page", str(page)])
    assert result.exit_code == 0, result.output
    assert "No run has a deadline. The governor did" in page.read_text()
