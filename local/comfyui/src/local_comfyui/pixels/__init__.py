"""Arithmetic on pixels: float32 in 0..1, images (batch, height, width, channels), masks (batch, height, width)."""
