"""How each ONNX operator becomes operations of our own, on codes or on floats."""
