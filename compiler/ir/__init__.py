"""The integer graph between ONNX and kernels, and the program that comes of it."""
