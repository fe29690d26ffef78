"""A file of `torch.export.save` from the command line to a program."""

from pathlib import Path

import numpy as np
import pytest
import torch

import edgekiln.runtime
from tests.cli.conftest import Cli
from tests.compiler.onnx_model.exported.programs import QuantizedDense, SmallNet, image, saved


def _one_row(seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 16, generator=torch.Generator().manual_seed(seed))


def test_what_pt2e_quantized_is_an_integer_program(cli: Cli, tmp_path: Path) -> None:
    net = QuantizedDense()
    path = saved(net, tmp_path / "net.pt2", _one_row())
    lib = tmp_path / "net.lib"
    made = cli("compile", path, "--strict-int8", "-o", lib)
    assert made.exit_code == 0, made.output
    got = edgekiln.runtime.load(lib)(_one_row(2).numpy())
    np.testing.assert_array_equal(got, net(_one_row(2)).numpy())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torchao's and torch's own
def test_pt2e_itself_quantizes_and_the_program_stays_within_a_code(
    cli: Cli, tmp_path: Path
) -> None:
    pytest.importorskip("torchao", reason="PT2E lives in torchao, which is not installed")
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    torch.manual_seed(0)
    prepared = prepare_pt2e(torch.export.export(SmallNet().eval(), (image(),)).module(), quantizer)
    for _ in range(4):
        prepared(torch.randn(1, 3, 8, 8))
    quantized = convert_pt2e(prepared)
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(quantized, (image(),)), path)
    lib = tmp_path / "net.lib"
    made = cli("compile", path, "-o", lib)
    assert made.exit_code == 0, made.output
    got = np.asarray(edgekiln.runtime.load(lib)(image().numpy()))
    expected = quantized(image()).detach().numpy()
    # The head's input is codes: one of them may fall the other way.
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max())


def test_a_build_begins_with_an_exported_program(cli: Cli, tmp_path: Path) -> None:
    net = SmallNet()
    path = saved(net, tmp_path / "net.pt2")
    samples = np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=samples)
    built = cli(
        "build", path, "--target", "host", "--calibrate", tmp_path / "samples.npz",
        "--bench-seconds", 0, "--min-sqnr", 25,
    )  # fmt: skip
    assert built.exit_code == 0, built.output
    assert "an exported program of PyTorch, written as ONNX" in built.output
    got = np.asarray(edgekiln.runtime.load(tmp_path / "dist" / "net-host.ekb")(samples[:1]))
    expected = net(torch.from_numpy(samples[:1])).detach().numpy()
    assert np.square(expected).sum() / np.square(expected - got).sum() > 100  # 20 dB


def test_verify_holds_a_program_to_its_file(cli: Cli, tmp_path: Path) -> None:
    path = saved(QuantizedDense(), tmp_path / "net.pt2", _one_row())
    cli("compile", path, "-o", tmp_path / "net.lib")
    held = cli("verify", tmp_path / "net.lib", "--model", path, "--samples", 3)
    assert held.exit_code == 0, held.output
    assert "identical to ONNX Runtime on 3 samples" in held.output


def test_verify_names_the_users_file_where_it_is_another(cli: Cli, tmp_path: Path) -> None:
    path = saved(QuantizedDense(), tmp_path / "net.pt2", _one_row())
    other = saved(SmallNet(), tmp_path / "other.pt2")
    cli("compile", path, "-o", tmp_path / "net.lib")
    held = cli("verify", tmp_path / "net.lib", "--model", other)
    assert held.exit_code == 3
    assert f"was not made from {other}" in held.output
    assert str(tmp_path / "store") not in held.output


def test_a_checkpoint_that_is_a_program_says_how_it_is_taken(cli: Cli, tmp_path: Path) -> None:
    path = saved(SmallNet(), tmp_path / "net.pt2").rename(tmp_path / "net.pt")
    said = cli("build", path, "--target", "host")
    assert said.exit_code == 3
    assert "where the file's name ends in .pt2" in said.output
