"""The compiler's graphs can be looked at, whatever is in the store."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.compiler.qdq_models import QdqModel

Cli = Callable[..., Result]

TARGET = "x86-64-v3"


def model(home: Path) -> Path:
    m = QdqModel()
    y = m.q(m.conv(m.q(m.input("x", 1, 3, 8, 8)), 4, 3, 3, 3, out="y", pads=[1, 1, 1, 1]))
    return m.save(home / "net.onnx", y)


def test_compile_writes_the_graphs_out_and_finds_the_same_program(cli: Cli, tmp_path: Path) -> None:
    path = model(tmp_path)
    made = cli("compile", path, "-o", "a.lib", "--target", TARGET, "--json")
    assert made.exit_code == 0, made.stderr
    again = cli(
        "compile",
        path,
        "-o",
        "b.lib",
        "--target",
        TARGET,
        "--json",
        "--check-ir",
        "--dump-ir",
        "ir",
    )
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["cached"]
    dumps = sorted(file.name for file in Path("ir").iterdir())
    last = f"{len(dumps) - 1:02d}-concat_in_place.txt"  # a file a pass
    assert (dumps[0], dumps[-1]) == ("00-imported.txt", last)
    assert "y_q: uint8[1,4,8,8]" in Path("ir", dumps[-1]).read_text()


def test_build_writes_a_directory_for_each_target(cli: Cli, tmp_path: Path) -> None:
    options = ("--bench-seconds", 0, "--check-ir", "--dump-ir", "ir")
    result = cli("build", model(tmp_path), "--target", TARGET, "--target", "cortex-m7", *options)
    assert result.exit_code == 0, result.stderr
    unsigned = Path("ir", TARGET, "01-qdq_to_integer.txt").read_text()
    assert "conv2d(x_q)" in unsigned
    assert {home.name for home in Path("ir").iterdir()} == {TARGET, "cortex-m7"}
    last = max(Path("ir", "cortex-m7").iterdir()).read_text()
    assert "quantize(" not in last  # a microcontroller takes codes
