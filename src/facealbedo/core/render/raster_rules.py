"""The rules that every rasteriser follows, so that backends agree and no pixel is lost or drawn twice.

* **Projection** in float64, then each vertex is snapped to a grid of 2^-14 pixel. From there coverage is integer
  arithmetic, exact: two triangles that share an edge split the pixels between them without cracks or double cover.
* **Ties**: a pixel centre exactly on an edge belongs to the triangle of which that is a top or left edge; of two
  triangles at the same depth the one with the lower index wins. So the result does not depend on the order of work.
* **Both sides** of a triangle are drawn: what is a back is for the normals to say.
* **Dropped** is a triangle with a vertex nearer than `NEAR_METRES` (no clipping: a face never reaches into the camera),
  or one that is not finite, or further than `GUARD_PX` from the first pixel, and one without area on the grid.
* **Barycentrics** come from the vertices as they were before snapping, are never below 0 and sum to 1 (a pixel that
  only the grid puts inside its triangle gets weights of the triangle's edge); depth is the barycentric mean of the
  vertices' depths (perspective-correct).
"""

from __future__ import annotations

SUBPIXEL_BITS = 14
NEAR_METRES = 1e-3
# |x| < 2^29 on the grid keeps every product of two differences below 2^62.
GUARD_PX = float(1 << (29 - SUBPIXEL_BITS))
