"""Convolution over all channels: by definition, on a matrix unit, or by Winograd's filtering."""
