"""Rasterise, interpolate, shade; work in the UV atlas."""
