"""What a GPU's program is counted to do, by hand on a small one."""

from edgekiln.compiler.estimate.gpu import counts_of
from edgekiln.runtime.manifest import Layer, ProgramSpec, TensorSpec


def tensor(name: str, *shape: int, dtype: str = "int8") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype)


def layer(name: str, macs: int, output: TensorSpec, offset: int | None) -> Layer:
    return Layer(
        name=name, op="conv2d", kernel=f"k_{name}", macs=macs, integer=True, output=output,
        offset=offset,
    )  # fmt: skip


def test_launches_and_the_least_bytes_are_what_a_run_needs() -> None:
    last = tensor("y", 1, 10, dtype="float32")
    spec = ProgramSpec(
        name="net", target="cuda-sm87", machine="aarch64", features=(), isa="cuda",
        inputs=(tensor("x", 1, 3, 8, 8, dtype="float32"),), outputs=(last,),
        arena_bytes=4096, weights_bytes=700, code_bytes=0, model_sha256="",
        layers=(
            layer("a", 1000, tensor("a", 1, 4, 8, 8), 0), layer("b", 200, last, None),
        ),
    )  # fmt: skip
    counted = counts_of(spec)
    assert [launch.result_bytes for launch in counted.launches] == [256, 40]
    assert counted.macs == 1200
    # x and y, the weights, and a, which is written and read.
    assert counted.least_moved_bytes == 768 + 40 + 700 + 2 * 256
    assert counted.method == "counted"
