"""Quantization-aware training: a network that computes the very codes of its integer program."""
