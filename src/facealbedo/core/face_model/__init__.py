"""The embedded face model: mesh, bases, atlas, regions, landmarks, and how they are built."""
