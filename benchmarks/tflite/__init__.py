"""TFLite models against LiteRT's reference kernels: every operator, and files that are given."""
