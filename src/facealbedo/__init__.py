"""facealbedo: from one photo of a face to an evenly lit, re-renderable 3D face asset."""
