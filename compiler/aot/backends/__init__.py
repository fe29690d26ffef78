"""What differs between kinds of device once the kernels are machine code: one module a kind."""
