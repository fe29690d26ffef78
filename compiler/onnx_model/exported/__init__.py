"""Exported programs of PyTorch (`.pt2`): read without running what is in them, and made ONNX."""
