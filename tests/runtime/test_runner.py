import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgekiln.runtime
from edgekiln.runtime import bundle
from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.library import ALIGN, aligned
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.runtime.ort_runner import OrtRunner
from edgekiln.runtime.program import LoadedProgram, run_batched
from edgekiln.runtime.runner import AotRunner, check_inputs
from tests.runtime.conftest import TOY, toy_sums

DRAW = np.random.default_rng(0)


def sample(n=1):
    return DRAW.uniform(-10, 260, (n, 3, 4, 4)).astype(np.float32)


def test_a_program_computes(toy_lib):
    x = sample()
    (y,) = AotRunner.open(toy_lib()).run(x)
    np.testing.assert_array_equal(y, toy_sums(x))
    assert y.dtype == np.float32


def test_results_do_not_change_with_the_next_call(toy_lib):
    runner = AotRunner.open(toy_lib())
    x = sample()
    (first,) = runner.run(x)
    runner.run(sample())
    np.testing.assert_array_equal(first, toy_sums(x))


def test_each_layer_shows_what_it_computed_as_onnx_would(toy_lib):
    x = sample()
    runner = AotRunner.open(toy_lib())
    quantize, total = runner.spec.layers
    runner.begin(x)
    runner.step(0)
    q = runner.layer_output(quantize)
    np.testing.assert_array_equal(q, np.clip(x + 7, 0, 255).astype(np.uint8))  # no border, NCHW
    runner.step(1)
    np.testing.assert_array_equal(runner.layer_output(total), toy_sums(x))
    np.testing.assert_array_equal(q, np.clip(x + 7, 0, 255).astype(np.uint8))  # a copy


def test_a_layer_can_be_given_other_inputs(toy_lib):
    runner = AotRunner.open(toy_lib())
    quantize, total = runner.spec.layers
    runner.begin(sample())
    runner.step(0)
    values = DRAW.integers(0, 256, (1, 3, 4, 4), dtype=np.uint8)
    runner.place(quantize, values)
    runner.step(1)
    expected = values.astype(np.float32).sum(axis=(2, 3)) - 7 * 16
    np.testing.assert_array_equal(runner.layer_output(total), expected)


def test_load_takes_batches_singles_and_pixels(toy_bundle):
    program = edgekiln.runtime.load(toy_bundle())
    x = sample(5)
    np.testing.assert_array_equal(program(x), toy_sums(x))
    np.testing.assert_array_equal(program(x[0]), toy_sums(x[:1]))
    np.testing.assert_array_equal(program(x.astype(np.float64)), toy_sums(x))
    pixels = DRAW.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    expected = toy_sums(pixels.transpose(0, 3, 1, 2) * np.float32(0.5))
    np.testing.assert_array_equal(program(pixels), expected)


def test_arrays_need_not_be_contiguous(toy_lib):
    x = sample(2)
    program = edgekiln.runtime.load(toy_lib())
    np.testing.assert_array_equal(program(x[:, :, ::-1, ::-1]), toy_sums(x[:, :, ::-1, ::-1]))
    (y,) = program.runner.run(x[1:].transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(y, toy_sums(x[1:]))


def test_two_loads_do_not_disturb_each_other(toy_lib):
    first, second = edgekiln.runtime.load(toy_lib()), edgekiln.runtime.load(toy_lib())
    x, other = sample(), sample()
    np.testing.assert_array_equal(first(x), toy_sums(x))
    np.testing.assert_array_equal(second(other), toy_sums(other))
    del first
    np.testing.assert_array_equal(second(x), toy_sums(x))


def test_threads_may_share_a_program(toy_lib):
    program = edgekiln.runtime.load(toy_lib())
    batches = [sample(20) for _ in range(16)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(program, batches))
    np.testing.assert_array_equal(answers, [toy_sums(x) for x in batches])


def test_loading_and_dropping_leaves_no_descriptor_open(toy_lib):
    path = toy_lib()
    edgekiln.runtime.load(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        edgekiln.runtime.load(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (
            np.zeros((2, 3, 4, 5), np.float32),
            "input 'x' is (N, 3, 4, 4), this array is (2, 3, 4, 5)",
        ),
        (np.zeros((0, 3, 4, 4), np.float32), "this array is (0, 3, 4, 4)"),
        (np.zeros((1, 3, 4, 4), np.int32), "input 'x' is float32, this array is int32"),
        (np.zeros((1, 4, 4, 1), np.int8), "input 'x' is (N, 3, 4, 4), this array is (1, 4, 4, 1)"),
        (np.float32(1), "this array is ()"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(toy_lib, array, problem):
    with pytest.raises(InputError) as caught:
        edgekiln.runtime.load(toy_lib())(array)
    assert problem in caught.value.message
    assert caught.value.exit_code == 3


def test_the_number_of_inputs_must_be_right(toy_lib):
    with pytest.raises(InputError, match="2 arrays given, the model has 1 inputs"):
        edgekiln.runtime.load(toy_lib())(sample(), sample())


@pytest.mark.parametrize("optimization", ["disable", "basic", "extended", "all"])
def test_onnx_runtime_has_the_same_interface(onnx_model, optimization):
    runner = OrtRunner(onnx_model, threads=1, optimization=optimization)
    (spec,) = runner.inputs
    assert (spec.name, spec.shape, spec.dtype) == ("x", (1, 3, 4, 4), "float32")
    x = sample()
    np.testing.assert_array_equal(runner.run(x)[0], x + x)
    batch = sample(3)
    np.testing.assert_array_equal(run_batched(runner, [batch])[0], batch + batch)


def test_onnx_runtime_names_a_model_it_refuses(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"ONNX Runtime cannot load .*broken\.onnx"):
        OrtRunner(path)


def test_a_program_for_another_architecture_is_refused(toy_bundle):
    path = toy_bundle(machine="aarch64", target="rpi5")
    with pytest.raises(BundleError) as caught:
        edgekiln.runtime.load(path)
    assert caught.value.message.startswith(f"{path}: made for aarch64 (rpi5), this machine is ")
    assert "edgekiln devices check qemu" in caught.value.hint
    assert caught.value.exit_code == 8


def test_a_program_for_a_better_cpu_is_refused_before_it_runs(toy_bundle):
    path = toy_bundle(features=("amx_quantum", "sse_of_humour"))
    with pytest.raises(BundleError) as caught:
        edgekiln.runtime.load(path)
    lacks = "made for host, this CPU lacks amx_quantum, sse_of_humour"
    assert caught.value.message == f"{path}: {lacks}"


def test_a_library_that_is_none_is_refused(toy_lib, tmp_path):
    _, files = bundle.read_program(toy_lib())
    path = tmp_path / "bad.lib"
    bundle.write_lib(path, {**files, "libmodel.so": b"\x7fELF junk"})
    with pytest.raises(BundleError, match=r"bad\.lib: cannot load libmodel\.so"):
        edgekiln.runtime.load(path)


def test_a_library_of_another_program_is_refused(toy_lib):
    with pytest.raises(BundleError, match=r"says bytes of arena: 192, its description 256"):
        edgekiln.runtime.load(toy_lib(arena_bytes=256))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"outputs": ()}, r"says bytes of outputs: \[12\], its description \[\]"),
        ({"inputs": TOY.inputs * 2}, r"bytes of inputs: \[192\], its description \[192, 192\]"),
        (
            {"outputs": (replace(TOY.outputs[0], shape=(1, 2), labels=()),)},
            r"bytes of outputs: \[12\], its description \[8\]",
        ),
        ({"layers": TOY.layers[:1]}, r"items of its steps: \[4, 0\], its description \[4\]"),
    ],
)
def test_a_resealed_bundle_that_is_not_its_library_s_is_refused(toy_bundle, changes, problem):
    """Memory is made by the description, and written by the library."""
    with pytest.raises(BundleError, match=problem) as caught:
        edgekiln.runtime.load(toy_bundle(**changes))
    assert caught.value.exit_code == 8


def test_the_runtime_needs_numpy_only(toy_bundle):
    blocked = ["torch", "tvm", "onnx", "onnxruntime", "click", "PIL", "rich", "sklearn"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        "import numpy, edgekiln.runtime\n"
        "import edgekiln.runtime.bench, edgekiln.runtime.__main__\n"
        "print(edgekiln.runtime.load(sys.argv[1])(numpy.zeros((1, 3, 4, 4), 'float32')).shape)"
    )
    output = subprocess.check_output([sys.executable, "-c", code, toy_bundle()], text=True)
    assert output == "(1, 3)\n"


class Fours:
    """A runner of four samples at a time: y = 2 x, and counts its calls."""

    inputs = (TensorSpec(name="x", shape=(4, 2), dtype="float32"),)
    outputs = (TensorSpec(name="y", shape=(4, 2), dtype="float32"),)
    calls = 0

    def run(self, *arrays):
        check_inputs(arrays, self.inputs)
        self.calls += 1
        return [arrays[0] * 2]


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_a_fixed_batch_takes_any_number_of_samples(count, calls):
    runner = Fours()
    x = DRAW.standard_normal((count, 2)).astype(np.float32)
    np.testing.assert_array_equal(LoadedProgram(runner)(x), x * 2)
    assert runner.calls == calls


def test_inputs_must_have_as_many_samples_each():
    runner = Fours()
    runner.inputs = (*Fours.inputs, Fours.inputs[0])  # type: ignore[assignment]
    with pytest.raises(InputError, match="the inputs have 3 and 5 samples"):
        LoadedProgram(runner)(np.zeros((5, 2), np.float32), np.zeros((3, 2), np.float32))


def test_onnx_runtime_takes_the_batch_it_is_told(onnx_model):
    runner = OrtRunner(onnx_model, batch=3)
    assert runner.inputs[0].shape == (3, 3, 4, 4)
    x = sample(3)
    np.testing.assert_array_equal(runner.run(x)[0], x + x)


def lib_with(path, source, toy_lib):
    """The toy's `.lib` around another C file."""
    code, library = path.with_suffix(".c"), path.with_suffix(".so")
    code.write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, code], check=True)
    files = {**bundle.read_program(toy_lib())[1], "libmodel.so": library.read_bytes()}
    bundle.write_lib(path, files)
    return path


def test_a_library_without_the_interface_is_refused(toy_lib, tmp_path):
    path = lib_with(tmp_path / "other.lib", "int model_run(void) { return 0; }", toy_lib)
    with pytest.raises(BundleError, match=r"not a program's library: .*model_step"):
        edgekiln.runtime.load(path)


def test_an_error_of_the_program_is_not_taken_for_a_result(toy_lib, tmp_path):
    source = """
        #include <stddef.h>
        #include <stdint.h>
        const size_t model_arena_bytes = 192, model_input_bytes[] = {192};
        const size_t model_output_bytes[] = {12};
        const int32_t model_input_count = 1, model_output_count = 1, model_step_count = 2;
        const struct { const char *name, *op; int32_t work; } model_steps[] = {{"q", "", 4}, {"y"}};
        int model_run(void) { return 2; }
        int model_step(void) { return 2; }"""
    runner = AotRunner.open(lib_with(tmp_path / "failing.lib", source, toy_lib))
    with pytest.raises(BundleError, match="model_run returned 2"):
        runner.run(sample())
    runner.begin(sample())
    with pytest.raises(BundleError, match="model_step 0 returned 2"):
        runner.step(0)


def test_a_program_without_a_library_cannot_be_loaded(toy_lib, tmp_path):
    _, files = bundle.read_program(toy_lib())
    bundle.write_lib(tmp_path / "m4.lib", {"program.json": files["program.json"]})
    with pytest.raises(BundleError, match=r"m4\.lib: has no libmodel\.so"):
        edgekiln.runtime.load(tmp_path / "m4.lib")


def test_buffers_start_where_the_program_wants_them():
    for size in (1, 63, 64, 1000):
        memory = aligned(size)
        assert memory.ctypes.data % ALIGN == 0
        assert len(memory) == size
