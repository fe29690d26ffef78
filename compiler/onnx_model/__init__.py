"""Reading, checking and rewriting ONNX models."""
