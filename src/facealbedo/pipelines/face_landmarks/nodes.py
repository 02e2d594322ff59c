"""Nodes of the `face_landmarks` pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facealbedo.params.face_model import FaceLandmarksParams

if TYPE_CHECKING:
    from facealbedo.core.embed.backproject import Consensus
    from facealbedo.core.embed.photos import DetectedPhoto
    from facealbedo.core.embed.study import StudyConfig
    from facealbedo.core.face_model.embedding import LandmarkTable
    from facealbedo.core.face_model.makehuman import MakeHumanData
    from facealbedo.core.face_model.model import StoredFaceModel


def detect_in_renders(params: FaceLandmarksParams, source: MakeHumanData, stored_model: StoredFaceModel) -> Consensus:
    """Render heads, detect, and find where the landmarks lie on the mean face."""
    from facealbedo.core.embed.study import embed_in_renders
    from facealbedo.core.face_model.build import lip_paint
    from facealbedo.core.face_model.model import FaceModel

    paint = lip_paint(source, stored_model.vertex_mirror.astype(int))
    return embed_in_renders(FaceModel.from_stored(stored_model), paint, _largest_face(), _config(params))


def detect_in_photos(params: FaceLandmarksParams) -> list[DetectedPhoto]:
    """Detect the landmarks of the largest face of each photo."""
    from facealbedo.core.embed.photos import DetectedPhoto
    from facealbedo.pipelines.face_landmarks.photos import read_photos

    find = _largest_face()
    found = []
    for image in read_photos(params):
        landmarks = find(image)
        if landmarks is not None:
            found.append(DetectedPhoto(landmarks, image.shape[0], image.shape[1]))
    return found


def refine_landmarks(
    params: FaceLandmarksParams,
    stored_model: StoredFaceModel,
    rendered: Consensus,
    photos: list[DetectedPhoto],
) -> LandmarkTable:
    """Move the landmarks to where fits to the photos see them."""
    from facealbedo.core.embed.study import refine_in_photos
    from facealbedo.core.face_model.model import FaceModel

    return refine_in_photos(FaceModel.from_stored(stored_model), rendered, photos, _config(params))


def _config(params: FaceLandmarksParams) -> StudyConfig:
    from facealbedo.core.embed.photos import PhotoPassConfig
    from facealbedo.core.embed.portraits import PortraitConfig
    from facealbedo.core.embed.study import StudyConfig

    return StudyConfig(
        portraits=PortraitConfig(**params.portraits.model_dump()),
        photos=PhotoPassConfig(**params.photo_pass.model_dump()),
        n_passes=params.n_passes,
    )


def _largest_face() -> Any:
    from facealbedo.core.detect.mediapipe_detector import MediapipeDetector

    detector = MediapipeDetector()

    def find(image: Any) -> Any:
        faces = detector.detect(image)
        return faces[0].landmarks_px if faces else None

    return find
