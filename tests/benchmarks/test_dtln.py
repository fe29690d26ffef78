"""What lies around DTLN's networks in one model."""

import numpy as np
import pytest

from edgekiln.benchmarks.dtln import network


def test_the_matrices_are_the_spectrum_of_a_block_and_its_inverse() -> None:
    block = np.random.default_rng(0).normal(size=(3, network.BLOCK)).astype(np.float32)
    real, imaginary, back, back_imaginary = network.spectra()
    spectrum = np.fft.rfft(block)
    np.testing.assert_allclose(block @ real, spectrum.real, atol=1e-3)
    np.testing.assert_allclose(block @ imaginary, spectrum.imag, atol=1e-3)
    again = spectrum.real @ back + spectrum.imag @ back_imaginary
    np.testing.assert_allclose(again, block, atol=1e-5)


def test_the_whole_model_computes_what_the_package_does_around_its_networks() -> None:
    """By its own loop: the spectrum's mask, the refined block, and blocks that overlap."""
    onnxruntime = pytest.importorskip("onnxruntime")
    home = network.networks()
    if home is None:
        pytest.skip(f"the package {network.PACKAGE} is not installed")
    first, second = (
        onnxruntime.InferenceSession(home / f"model_{number}.onnx") for number in (1, 2)
    )
    session = onnxruntime.InferenceSession(network.whole(home).SerializeToString())
    samples = np.random.default_rng(0).normal(size=(40, 1, network.HOP)).astype(np.float32) / 8
    states = {value.name: np.zeros(value.shape, np.float32) for value in session.get_inputs()[1:]}
    memory = [np.zeros((1, 2, 128, 2), np.float32)] * 2
    block = np.zeros((1, network.BLOCK), np.float32)
    added = np.zeros(network.BLOCK, np.float32)
    own, wanted = [], []
    for new in samples:
        block = np.concatenate([block[:, network.HOP :], new], axis=1)
        clean, *after = session.run(None, {"frame": block, **states})
        states = dict(zip(states, after, strict=True))
        own.append(clean[0])
        spectrum = np.fft.rfft(block[0])
        magnitude = np.abs(spectrum).astype(np.float32)[None, None]
        mask, memory[0] = first.run(None, {"input_2": magnitude, "input_3": memory[0]})
        estimate = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
        refined, memory[1] = second.run(None, {"input_4": estimate, "input_5": memory[1]})
        added = np.concatenate([added[network.HOP :], np.zeros(network.HOP)]) + refined[0, 0]
        wanted.append(added[: network.HOP])
    np.testing.assert_allclose(np.array(own), np.array(wanted), atol=1e-5)
