"""Programs that take text: the tokens of ONNX Runtime's oracle, on every chip, in C and Python."""

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekiln.compiler.build import driver
from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.raw_data import TAKES_RAW
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.evaluation.subject import open_subject
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.stream_session import open_session
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.store import Store
from edgekiln.models.text.tokens import Tokenizer
from edgekiln.runtime import load as load_program
from edgekiln.runtime.bundle import ProgramFile, read_program
from edgekiln.runtime.errors import ConfigError, InputError, UnsupportedError
from edgekiln.runtime.texts import rows
from edgekiln.targets import profile
from tests.e2e.compiled_models import build, check
from tests.models.text.tokenizer_c import WORDS, write_vocabulary

GPU = next(name for name in profile.names() if profile.load(name).gpu)
LENGTH, BYTES, WIDTH = 12, 80, 16
TEXTS = (
    "the unaffable RUN", "Café, 中文!", "", "[MASK] the [SEP]", "running " * 9, "\U0001f600e\u0301",
)  # fmt: skip


def reader(path: Path, *, batch: int | str = 1, kind: int = TensorProto.INT64) -> Path:
    """A network that reads: the mean of the embeddings of all tokens, and their types'."""
    draw = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["word"]),
        helper.make_node("Gather", ["kinds", "token_type_ids"], ["kind"]),
        helper.make_node("Add", ["word", "kind"], ["x"]),
        helper.make_node("Gather", ["places", "attention_mask"], ["there"]),
        helper.make_node("Mul", ["x", "there"], ["seen"]),
        helper.make_node("ReduceMean", ["seen"], ["sum"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["sum", "w"], ["y"]),
    ]
    names = ("input_ids", "attention_mask", "token_type_ids")
    graph = helper.make_graph(
        nodes, "reader",
        [helper.make_tensor_value_info(name, kind, [batch, LENGTH]) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [weight("words", len(WORDS), WIDTH), weight("kinds", 2, WIDTH), weight("places", 2, WIDTH),
         weight("w", WIDTH, 4)],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def with_text(tmp_path: Path, **options: int | str) -> Path:
    """The same, taking text."""
    model = io.load_model(reader(tmp_path / "reader.onnx", **options))  # type: ignore[arg-type]
    vocabulary = write_vocabulary(tmp_path / "vocab.txt")
    attach(model, (f"wordpiece={vocabulary}?bytes={BYTES}",), ("softmax",))
    io.save_model(model, tmp_path / "text.onnx")
    return tmp_path / "text.onnx"


def wanted(model: Path, texts: tuple[str, ...] = TEXTS, batch: int = 1) -> NDArray[np.float32]:
    """What the network says about the tokens, without any program of ours."""
    tables = next(w for w in onnx.load(model).graph.initializer if w.name == "before/tables")
    ids, mask = Tokenizer(numpy_helper.to_array(tables))([text.encode() for text in texts])
    network = open_session(io.load_model(model.with_name("reader.onnx")), optimize=False)
    kind = network.inputs  # all are of the type that the tokenizer gives
    results = [
        network({kind[0]: ids[at], kind[1]: mask[at], kind[2]: 0 * ids[at]})[0]
        for at in (slice(start, start + batch) for start in range(0, len(texts), batch))
    ]
    powers = np.exp(np.concatenate(results))
    shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32])
@pytest.mark.parametrize("batch", [1, 3])
def test_text_becomes_the_tokens_of_the_oracle(tmp_path: Path, batch: int, kind: int) -> None:
    model = with_text(tmp_path, batch=batch, kind=kind)
    result = check(model, profile.load("host"), samples=12)
    (tokens,) = (gap for gap in result.layers if gap.name == "input_ids")
    assert tokens.differing == 0
    assert tokens.elements > 0
    net = load_program(model.with_suffix(".host.lib"))
    np.testing.assert_allclose(np.asarray(net(list(TEXTS))), wanted(model, batch=batch), rtol=1e-5)


def test_text_is_taken_in_every_form(tmp_path: Path) -> None:
    model = with_text(tmp_path, batch="N")
    lib = build(model, profile.load("host"))
    net, right = load_program(lib), wanted(model)
    (spec,) = net.inputs
    assert (spec.name, spec.dtype, spec.shape, spec.holds) == ("text", "uint8", (1, BYTES), "text")
    for given in (TEXTS[1], TEXTS[1].encode(), np.array([TEXTS[1]]), rows([TEXTS[1]], spec, "")):
        np.testing.assert_allclose(net(given), right[1:2], rtol=1e-5)  # type: ignore[arg-type]
    np.testing.assert_allclose(net(text=TEXTS[0]), right[:1], rtol=1e-5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"a text of 81 bytes, input 'text' takes 80") as caught:
        net("a" * 81)
    assert "bytes=81" in caught.value.hint
    for options in (
        ["--text", TEXTS[0], "--text", TEXTS[1]],
        ["--input", str(write_lines(tmp_path / "a.txt", TEXTS[:2]))],
        ["--input", f"text={tmp_path / 'a.txt'}"],
    ):
        done = CliRunner().invoke(edgekiln, ["run", str(lib), *options, "--json"])
        assert done.exit_code == 0, done.output
        (output,) = json.loads(done.stdout)["outputs"]
        np.testing.assert_allclose(output["values"], right[:2], rtol=1e-5)
    both = ["--text", TEXTS[0], "--input", str(tmp_path / "a.txt")]
    done = CliRunner().invoke(edgekiln, ["run", str(lib), *both])
    assert (done.exit_code, "text is all that the program takes" in done.stderr) == (2, True)


def write_lines(path: Path, lines: tuple[str, ...]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_program_is_verified_on_lines_of_text(tmp_path: Path) -> None:
    model = with_text(tmp_path, batch=2)
    lib = build(model, profile.load("host"))
    lines = write_lines(tmp_path / "lines.txt", TEXTS[:5])
    words = ["verify", str(lib), "--model", str(model), "--data"]
    done = CliRunner().invoke(edgekiln, [*words, str(lines), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["samples"] == 4  # whole calls of two
    few = CliRunner().invoke(edgekiln, [*words, str(write_lines(tmp_path / "one.txt", ("a",)))])
    assert few.exit_code == InputError.exit_code
    assert "takes 2 samples at once, more than are held out" in few.stderr


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b" \n\t\r\n\0\n"])
def test_a_file_without_text_verifies_nothing(tmp_path: Path, content: bytes) -> None:
    model = with_text(tmp_path)
    lib, path = build(model, profile.load("host")), tmp_path / "blank.txt"
    path.write_bytes(content)
    words = ["verify", str(lib), "--model", str(model), "--data", str(path)]
    done = CliRunner().invoke(edgekiln, words)
    assert done.exit_code == InputError.exit_code
    assert f"{path}: holds no text" in done.stderr


@pytest.mark.parametrize("order", ["length=12&vocabulary={}", "vocabulary={}&length=12"])
def test_lines_of_tokens_are_the_network_s_and_those_of_text_the_program_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    lib, model = build(with_text(tmp_path), profile.load("host")), tmp_path / "text.onnx"
    write_lines(tmp_path / "lines.txt", TEXTS[:5])
    spec = read_program(lib)[0]
    tokens = f"{tmp_path / 'lines.txt'}?{order.format(tmp_path / 'vocab.txt')}"
    # Those that a build was calibrated on are no text: the numbers are drawn.
    drawn = batches_for(spec, model, data=tokens, seed=0, samples=7)
    assert len(drawn) == 7
    with pytest.raises(ConfigError, match="makes the tokens of its texts itself") as caught:
        batches_for(spec, model, data=tokens, seed=0, samples=7, demanded=True)
    assert str(tmp_path / "lines.txt") in caught.value.hint
    assert len(batches_for(spec, model, data="~/lines.txt", seed=0, samples=7, demanded=True)) == 5


def test_equal_builds_are_equal_wherever_the_vocabulary_lies(tmp_path: Path) -> None:
    made = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        lib = build(with_text(tmp_path / name), profile.load("host"))
        made.append(read_program(lib)[1])
    assert made[0] == made[1]


def test_a_build_scores_the_network_and_measures_the_program(tmp_path: Path) -> None:
    vocabulary = write_vocabulary(tmp_path / "vocab.txt")
    lines = [f'"{text}",{"good" if n % 2 else "bad"}' for n, text in enumerate(TEXTS[:2] * 20)]
    write_lines(tmp_path / "reviews.csv", ("review,label", *lines))
    recipe = Recipe(
        data=f"{tmp_path / 'reviews.csv'}?text=review&vocabulary={vocabulary}&length={LENGTH}",
        options={
            "attach": {"before": (f"wordpiece={vocabulary}?bytes={BYTES}",), "after": ("argmax",)}
        },
    )
    request = driver.Request(
        model=str(reader(tmp_path / "reader.onnx", batch="N")), targets=(profile.load("host"),),
        recipe=recipe, out=tmp_path / "dist", trial_s=0.01,
    )  # fmt: skip
    result = driver.build(request, Store(tmp_path / "store"), progress, CHAIN)
    steps = {step.stage: step for step in result.steps}
    assert list(steps) == ["input", "quantize", "attach", "compile"]
    assert steps["quantize"].score is not None
    assert (steps["attach"].score, steps["attach"].unscored) == (None, TAKES_RAW)
    # Its tables are no parameters of the network.
    assert steps["attach"].parameters == steps["quantize"].parameters
    (target,) = result.targets
    engines = [latency.engine for latency in target.latencies]
    assert engines == ["edgekiln int8", "onnxruntime int8", "onnxruntime float"]
    # Without a path, so that it builds the same anywhere.
    assert "wordpiece=vocab.txt?bytes=80" in str(io.read_meta(attached(tmp_path)).before)


def attached(tmp_path: Path) -> onnx.ModelProto:
    models = [path for path in (tmp_path / "store").rglob("*.onnx") if path.is_file()]
    loaded = [io.load_model(path) for path in models]
    return next(model for model in loaded if io.read_meta(model).before)


EXAMPLE = (Path(__file__).parents[2] / "docs" / "howto" / "text.md").read_text()


def test_the_example_in_c_of_the_page_runs(tmp_path: Path) -> None:
    model = with_text(tmp_path)
    _, files = read_program(build(model, profile.load("host")))
    for name in ("libmodel.a", "model.h"):
        (tmp_path / name).write_bytes(files[name])
    (code,) = (part.split("```")[0] for part in EXAMPLE.split("```c\n")[1:])
    (tmp_path / "example.c").write_text(code)
    flags = "-std=c11 -Wall -Wextra -Werror -fsanitize=address,undefined".split()
    build_it = ["gcc", *flags, "example.c", "libmodel.a", "-lm", "-o", "example"]
    subprocess.run(build_it, cwd=tmp_path, check=True)
    done = subprocess.run(
        [tmp_path / "example", TEXTS[1]], capture_output=True, text=True, check=True
    )
    assert f"class {wanted(model)[1].argmax()}," in done.stdout
    header = files["model.h"].decode()
    assert "#define MODEL_INPUT_0_TEXT 1" in header


def test_a_gpu_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="input_ids: no kernel for GPUs makes tokens"):
        build(with_text(tmp_path), profile.load(GPU))


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["cortex-m0plus", "cortex-m4", "cortex-m7", "rpi5", "rpi2-armv7"]
)
def test_other_chips_make_the_same_tokens(tmp_path: Path, target: str) -> None:
    model = with_text(tmp_path)
    lib = build(model, profile.load(target))
    subject = open_subject(Artifact.of_file(lib, "lib"))
    (spec,) = ProgramFile.open(lib).spec.inputs
    found = [subject.predict({"text": rows([text], spec, "")})[0][0] for text in TEXTS]
    np.testing.assert_allclose(found, wanted(model), rtol=1e-5)
