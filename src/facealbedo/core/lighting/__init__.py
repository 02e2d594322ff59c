"""Distant light: spherical harmonics of incoming radiance, and environment maps."""
