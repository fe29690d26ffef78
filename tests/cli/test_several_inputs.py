"""A model of three inputs of three types and two outputs, all the way: as a newcomer types it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.runtime.bundle import read_tar
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.program import load

BODY = """
    e = Gather (table, tokens)
    h = Gemm <transB = 1> (flat, w1, b1)
    n = Not (mask)
    three = Unsqueeze (n, last)
    masked = Where (three, zero, e)
    m = ReduceMean <keepdims = 0> (masked, middle)
    r = Relu (h)
    s = Add (m, r)
    scores = Gemm <transB = 1> (s, w2, b2)
    aux = Gemm <transB = 1> (s, w3, b3)
"""
WEIGHTS = {
    "table": (50, 16), "w1": (16, 8), "b1": (16,), "w2": (5, 16), "b2": (5,), "w3": (2, 16),
    "b3": (2,),
}  # fmt: skip
DRAW = np.random.default_rng(0)


def three_inputs() -> onnx.ModelProto:
    """Word numbers with a mask, and some features beside them."""
    inputs = "int64[N, 12] tokens, bool[N, 12] mask, float[N, 8] flat"
    text = (
        '<ir_version: 8, opset_import: ["" : 20]>\n'
        f"model ({inputs}) => (float[N, 5] scores, float[N, 2] aux) {{{BODY}}}"
    )
    model = onnx.parser.parse_model(text)
    arrays = {k: DRAW.normal(0, 0.5, shape).astype(np.float32) for k, shape in WEIGHTS.items()}
    arrays |= {"zero": np.array(0.0, np.float32), "last": np.array([2]), "middle": np.array([1])}
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    onnx.checker.check_model(model, full_check=True)
    return model


def samples(count: int) -> dict[str, np.ndarray]:
    return {
        "tokens": DRAW.integers(0, 50, (count, 12)),
        "mask": DRAW.random((count, 12)) > 0.3,
        "flat": DRAW.normal(size=(count, 8)).astype(np.float32),
    }


class Shop:
    """One directory, one store."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *arguments: object) -> Result:
        return CliRunner().invoke(edgekiln, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The model is built, calibrated on samples that are named after its inputs."""
    home = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKILN_STORE", str(home / "store"))
        patch.chdir(home)
        onnx.save(three_inputs(), "three.onnx")
        np.savez("samples.npz", **samples(60))  # type: ignore[arg-type]
        run = Shop(home)
        built = run("build", "three.onnx", "--calibrate", "samples.npz", "--bench-seconds", 0.02)
        assert built.exit_code == 0, built.stderr
        yield run


def wanted(given: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What the float model says."""
    import onnxruntime

    session = onnxruntime.InferenceSession("three.onnx", providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, given)
    return found


def near(found: np.ndarray, exact: np.ndarray) -> bool:
    """Whether int8 has lost no more than int8 does."""
    return bool(np.abs(found - exact).max() < 0.1 * np.abs(exact).max())


def test_inputs_are_given_by_name_in_python(shop: Shop) -> None:
    net = load(shop.home / "dist/three-host.ekb")
    given = samples(3)
    by_name = net(mask=given["mask"], flat=given["flat"], tokens=given["tokens"])
    by_place = net(given["tokens"], given["mask"], flat=given["flat"])
    assert [each.shape for each in by_name] == [(3, 5), (3, 2)]
    assert all(map(np.array_equal, by_name, by_place))
    assert all(map(near, by_name, wanted(given)))


def test_a_wrong_call_is_told_all_names_types_and_shapes(shop: Shop) -> None:
    net = load(shop.home / "dist/three-host.ekb")
    given = samples(1)
    takes = "tokens int64 (1, 12), mask bool (1, 12), flat float32 (1, 8)"
    lacking = "1 arrays given, the model has 3 inputs; mask, flat missing"
    for arrays, named, message in (
        ((), given | {"x": given["flat"]}, "the model has no input 'x'"),
        ((), {"tokens": given["tokens"]}, lacking),
        ((given["tokens"], given["mask"]), {"mask": given["mask"]}, "input 'mask' is given twice"),
    ):
        with pytest.raises(InputError) as caught:
            net(*arrays, **named)
        assert (caught.value.message, caught.value.hint) == (message, f"its inputs are: {takes}")
    with pytest.raises(InputError, match=r"'tokens' is \(N, 12\), this array is \(1, 11\)"):
        net(**given | {"tokens": given["tokens"][:, :11]})
    with pytest.raises(InputError, match="'mask' is bool, this array is float32"):
        net(**given | {"mask": given["mask"].astype(np.float32)})


def test_a_word_that_the_table_does_not_have_reads_no_other_memory(shop: Shop) -> None:
    net = load(shop.home / "dist/three-host.ekb")
    given = samples(1)
    last = net(**given | {"tokens": np.full((1, 12), 49)})
    far = [net(**given | {"tokens": np.full((1, 12), word)}) for word in (50, 10**6, 2**62)]
    assert [list(map(np.array_equal, found, last)) for found in far] == [[True, True]] * 3


def test_files_are_given_by_name_or_in_one_archive(shop: Shop) -> None:
    given = samples(2)
    for name, array in given.items():
        np.save(f"{name}.npy", array)
    np.savez("all.npz", **given)  # type: ignore[arg-type]
    inputs = [arg for n in ("mask", "flat", "tokens") for arg in ("--input", f"{n}={n}.npy")]
    outputs = ("--output", "scores.npy", "--output", "aux.npy")
    for how in (inputs, ["--input", "all.npz"]):
        ran = shop("run", "dist/three-host.ekb", *how, *outputs)
        assert ran.exit_code == 0, ran.stderr
        found = (np.load("scores.npy"), np.load("aux.npy"))
        assert all(map(near, found, wanted(given)))
    lost = shop("run", "dist/three-host.ekb", "--input", "masks=mask.npy", *inputs[2:])
    assert lost.exit_code == 3
    assert "the model has no input 'masks'" in lost.stderr


def test_every_layer_is_compared(shop: Shop) -> None:
    result = shop("verify", "dist/three-host.ekb", "--samples", 5, "--json")
    assert result.exit_code == 0, result.stderr
    verified = json.loads(result.stdout)
    assert verified["samples"] == 5
    assert verified["identical"]
    assert "take" in {layer["op"] for layer in verified["layers"]}
    assert [each["name"] for each in verified["outputs"]] == ["scores", "aux"]


def test_it_is_measured_beside_onnx_runtime(shop: Shop) -> None:
    command = ("bench", "dist/three-host.ekb", "--trials", 1, "--min-seconds", 0.02, "--json")
    result = shop(*command)
    assert result.exit_code == 0, result.stderr
    engines = [each["engine"] for each in json.loads(result.stdout)["results"]]
    assert engines == ["edgekiln", "onnxruntime", "onnxruntime"]


def test_the_example_is_of_the_samples(shop: Shop) -> None:
    files = read_tar(shop.home / "dist/three-host.ekb")
    tokens = np.frombuffer(files["example/input_0.bin"], np.int64)
    assert tokens.shape == (12,)
    assert tokens.max() > 1  # no random ones, which are 0 and 1
    assert len(files["example/input_1.bin"]) == 12
    checked = shop("devices", "check", "local", "dist/three-host.ekb")
    assert checked.exit_code == 0, checked.stderr


def test_a_c_program_knows_types_sizes_and_names(shop: Shop, tmp_path: Path) -> None:
    files = read_tar(shop.home / "dist/three-host.ekb")
    for name in ("model.h", "libmodel.a"):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "main.c").write_text(r"""
        #include <stdio.h>
        #include "model.h"
        static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
        static _Alignas(MODEL_ALIGN) MODEL_INPUT_0_TYPE tokens[MODEL_INPUT_0_ELEMENTS];
        static _Alignas(MODEL_ALIGN) MODEL_INPUT_1_TYPE mask[MODEL_INPUT_1_ELEMENTS];
        static _Alignas(MODEL_ALIGN) MODEL_INPUT_2_TYPE flat[MODEL_INPUT_2_ELEMENTS];
        static _Alignas(MODEL_ALIGN) MODEL_OUTPUT_0_TYPE scores[MODEL_OUTPUT_0_ELEMENTS];
        static _Alignas(MODEL_ALIGN) MODEL_OUTPUT_1_TYPE aux[MODEL_OUTPUT_1_ELEMENTS];
        int main(void) {
            const void *in[] = {tokens, mask, flat};
            void *out[] = {scores, aux};
            for (int i = 0; i < MODEL_INPUT_1_ELEMENTS; i++) tokens[i] = i, mask[i] = 1;
            if (model_run(in, out, arena) != 0) return 1;
            printf("%s %s %s %s\n", MODEL_INPUT_0_NAME, MODEL_INPUT_2_NAME, MODEL_OUTPUT_0_NAME,
                   MODEL_OUTPUT_1_NAME);
            printf("%zu %zu\n", sizeof tokens, sizeof mask);
            for (int i = 0; i < MODEL_OUTPUT_0_ELEMENTS; i++) printf("%.9g ", (double)scores[i]);
            return 0;
        }
    """)
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "main.c", "libmodel.a", "-lm", "-o", "main"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    done = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True, text=True)
    names, sizes, values = done.stdout.splitlines()
    assert names == "tokens flat scores aux"
    assert sizes == "96 12"
    net = load(shop.home / "dist/three-host.ekb")
    given = {
        "tokens": np.arange(12)[None], "mask": np.ones((1, 12), bool),
        "flat": np.zeros((1, 8), np.float32),
    }  # fmt: skip
    np.testing.assert_array_equal(np.array(values.split(), np.float32), net(**given)[0][0])


def test_a_float_program_takes_the_same(shop: Shop) -> None:
    command = ("build", "three.onnx", "--precision", "float32", "--bench-seconds", 0)
    built = shop(*command, "--data", "samples.npz", "--json")
    assert built.exit_code == 0, built.stderr
    (target,) = json.loads(built.stdout)["targets"]
    given = samples(2)
    found = [*load(target["bundle"])(**given)]
    np.testing.assert_allclose(np.hstack(found), np.hstack(wanted(given)), rtol=1e-4, atol=1e-5)


def test_samples_that_lack_an_input_are_refused_with_what_is_wanted(shop: Shop) -> None:
    np.savez("few.npz", tokens=np.zeros((9, 12), np.int64), flat=np.zeros((9, 8), np.float32))
    refused = shop("build", "three.onnx", "--calibrate", "few.npz", "--bench-seconds", 0)
    assert refused.exit_code == 3
    assert "few.npz has no samples of input 'mask'; it has tokens, flat" in refused.stderr
    assert "int64 tokens (12,), bool mask (12,), float32 flat (8,)" in refused.stderr
    labelled = shop("build", "three.onnx", "--data", "digits", "--bench-seconds", 0)
    assert labelled.exit_code == 3
    assert "digits fills one input" in labelled.stderr
