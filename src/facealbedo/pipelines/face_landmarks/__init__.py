"""Find where a detector's landmarks lie on the face model: in renders, then in photos."""

from facealbedo.pipelines.face_landmarks.pipeline import create_pipeline

__all__ = ["create_pipeline"]
