"""Assets as in-memory bytes: meshes, textures, GLB, OBJ, reports."""
