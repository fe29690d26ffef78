"""The table at the end of a build, as a user reads it."""

from dataclasses import replace
from io import StringIO

from edgekiln.compiler.build.result import (
    BuildResult,
    DropPrice,
    FloatOp,
    Step,
    TargetResult,
    finite,
)
from edgekiln.compiler.cli.tables import show
from edgekiln.compiler.documents.console import plain_console
from edgekiln.compiler.evaluation.latency import Latency
from edgekiln.compiler.packaging.report import Score
from edgekiln.runtime import host
from edgekiln.runtime.text import human_bytes


def step(stage: str, value: float, target: str = "", **changes: object) -> Step:
    return replace(
        Step(
            stage=stage,
            target=target,
            sha256="ab" * 32,
            file_bytes=321_844,
            score=Score(value=value, metric="accuracy", unit="%", n=360, of=360),
            parameters=77_850,
            macs=12_501_632,
            wall_s=41.27,
        ),
        **changes,  # type: ignore[arg-type]
    )


def latency(engine: str, median_s: float, ratio: float) -> Latency:
    return Latency(
        engine=engine,
        threads=1,
        median_s=median_s,
        p90_s=median_s * 1.1,
        spread=0.012,
        ratio=ratio,
        warnings=("busy: load 3 on 2 cores before the run",),
    )


TARGET = TargetResult(
    target="host",
    base="x86-avx512-vnni",
    bundle="dist/resnet8-host.ekb",
    bundle_bytes=1_500_000,
    bundle_sha256="cd" * 32,
    layers=13,
    float_ops=(FloatOp(name="probs", op="Softmax", reason="no integer form"),),
    arena_bytes=65_536,
    weights_bytes=80_000,
    code_bytes=30_000,
    latencies=(
        latency("edgekiln int8", 60e-6, 1.0),
        latency("onnxruntime int8", 111e-6, 2.0),
    ),
)
RESULT = BuildResult(
    model="resnet8",
    data="digits",
    seed=0,
    machine=host.machine(),
    steps=(
        step("distill", 0.9861),
        step("prune", 0.9833, notes=("group layer3 kept",), cached=True),
        step("compile", 0.9833, "host", parameters=None, remark="damaged: made again"),
    ),
    targets=(TARGET,),
)


def shown(result: BuildResult, width: int = 100) -> str:
    file = StringIO()
    show(result, plain_console(file=file, width=width))
    return file.getvalue()


def row(text: str, first: str) -> list[str]:
    """The cells of the table's row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {first} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_every_stage_has_its_row() -> None:
    text = shown(RESULT)
    assert row(text, "distill") == [
        "distill",
        "98.61%",
        "360",
        "77,850",
        "12,501,632",
        "321,844",
        "41.3 s",
    ]
    assert row(text, "prune")[-1] == "cached"
    assert row(text, "compile host")[3] == "-"
    assert "note: prune: group layer3 kept" in text
    assert "note: compile: damaged: made again" in text


def test_names_stand_there_as_they_are() -> None:
    """Even where they look like a terminal's markup or a picture's name."""
    named = replace(RESULT.steps[1], notes=("float: Softmax [/head] in [a]: :x:",))
    text = shown(replace(RESULT, model="nets[red]/own[/red]:make", steps=(named,)))
    assert "nets[red]/own[/red]:make" in text
    assert "float: Softmax [/head] in [a]: :x:" in text


def test_a_score_on_fewer_samples_says_so_in_its_row() -> None:
    few = Score(value=0.97, metric="accuracy", unit="%", n=151, of=10_000)
    emulated = step("compile", 0.97, "rpi5", score=few)
    text = shown(replace(RESULT, steps=(*RESULT.steps, emulated)))
    assert row(text, "compile rpi5")[1:3] == ["97.00%", "151 of 10,000"]
    assert row(text, "distill")[2] == "360"


def test_a_regression_has_its_own_column_and_no_accuracy() -> None:
    rmse = Score(value=3.25, metric="RMSE", unit="kWh", better="lower", share=False, n=360, of=360)
    only = replace(RESULT, steps=(step("distill", 0.9, score=rmse),), targets=())
    text = shown(only)
    assert "RMSE, kWh ↓" in text
    assert row(text, "distill")[1] == "3.25 kWh"
    assert "accuracy" not in text
    ink = replace(rmse, head="ink")
    digit = replace(ink, value=0.9, metric="accuracy", unit="%", share=True, better="higher")
    heads = step("distill", 0.9, score=replace(digit, head="digit"), further_scores=(ink,))
    text = shown(replace(RESULT, steps=(heads,), targets=()), width=140)
    assert "digit accuracy ↑" in text
    assert row(text, "distill")[1:3] == ["90.00%", "3.25 kWh"]


def test_latencies_stand_beside_each_other() -> None:
    text = shown(RESULT)
    assert row(text, "edgekiln int8") == ["edgekiln int8", "1", "60.0", "66.0", "1.2%", "1.00"]
    assert row(text, "onnxruntime int8")[-1] == "2.00"
    fast = replace(RESULT, targets=(replace(TARGET, latencies=(latency("fast", 64.4e-9, 1.0),)),))
    assert row(shown(fast), "fast")[2:4] == ["0.064", "0.071"]  # and not 0.1 µs
    assert text.count("warning: busy: load 3 on 2 cores before the run") == 1


def test_what_stayed_float_is_named_with_its_reason() -> None:
    assert "float operations: 1 of 13\n  Softmax probs: no integer form" in shown(RESULT)
    none = replace(RESULT, targets=(replace(TARGET, float_ops=()),))
    assert "float operations: none of 13" in shown(none)
    floats = replace(none, precision="float32")
    assert "operations without a float32 kernel: none of 13" in shown(floats)
    many = tuple(FloatOp(name=f"n{i}", op="Exp", reason="why") for i in range(11))
    assert "and 3 more" in shown(replace(RESULT, targets=(replace(TARGET, float_ops=many),)))


def test_the_bundle_and_the_next_command_are_named() -> None:
    text = shown(RESULT)
    assert "bundle: dist/resnet8-host.ekb (1.4 MiB)" in text
    assert "next: edgekiln bench dist/resnet8-host.ekb" in text


def test_what_could_not_be_measured_says_why() -> None:
    foreign = replace(TARGET, latencies=(), unmeasured="runs on aarch64, this machine is x86_64")
    unscored = replace(RESULT.steps[2], score=None, unscored="runs on aarch64")
    text = shown(replace(RESULT, steps=(unscored,), targets=(foreign,)))
    assert "latency not measured: runs on aarch64, this machine is x86_64" in text
    assert row(text, "compile host")[1] == "-"
    assert "accuracy not measured of compile host: runs on aarch64\n" in text
    assert "next:" not in text


def test_long_paths_are_not_broken() -> None:
    path = f"/a/{'long/' * 30}resnet8-host.ekb"
    assert path in shown(replace(RESULT, targets=(replace(TARGET, bundle=path),)), width=60)


def test_no_colour_where_nobody_sees_it() -> None:
    assert "\x1b[" not in shown(RESULT)


def test_bytes_are_in_powers_of_1024() -> None:
    assert [human_bytes(count) for count in (0, 1023, 1024, 5 << 20, 3 << 30, 9 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 GiB",
        "9216.0 GiB",
    ]


def test_json_has_no_infinity() -> None:
    assert finite({"sqnr_db": float("inf"), "nodes": 3.0}) == {"sqnr_db": None, "nodes": 3.0}


def test_layers_in_float_have_their_price_beside_the_program() -> None:
    price = DropPrice(
        float_layers=("a", "b"), bytes=121_000, plain_bytes=110_000, median_s=66e-6,
        plain_median_s=60e-6,
    )  # fmt: skip
    text = shown(replace(RESULT, targets=(replace(TARGET, price=price),)), width=200)
    assert "price of the limit: 2 layers in float, +6.0 µs (+10%), +11,000 bytes" in text
    unmeasured = replace(price, float_layers=("a",), median_s=None, plain_median_s=None)
    text = shown(replace(RESULT, targets=(replace(TARGET, price=unmeasured),)), width=200)
    assert "price of the limit: 1 layer in float, +11,000 bytes" in text
    assert "price" not in shown(RESULT)
