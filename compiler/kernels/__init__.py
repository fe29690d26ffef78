"""TensorIR kernels: each a frozen dataclass with `build(mk) -> Kernel`, written once for all chips."""
