"""ONNX's own operator tests, compiled and run: what is right, what is refused, and why."""
