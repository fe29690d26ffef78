"""TensorIR kernels: each a frozen dataclass with `build(mk) -> Kernel`, one for all chips."""
