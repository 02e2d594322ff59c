"""Spherical harmonics and environment maps."""
