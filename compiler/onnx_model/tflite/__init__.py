"""TFLite files in: the same graph in ONNX, with the reference kernels' own arithmetic."""
