"""Kernels made for GPUs, where a thread has a few results and not a row of them."""
