"""Rotations, projection, normals."""
