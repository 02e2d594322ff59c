"""Face and landmark detectors behind one protocol, crops and gates."""

from facealbedo.core.detect.detector import DetectedFace, DetectorError, FaceDetector
from facealbedo.core.detect.face_alignment_detector import FaceAlignmentDetector
from facealbedo.core.detect.mediapipe_detector import MediapipeDetector

__all__ = ["DetectedFace", "DetectorError", "FaceAlignmentDetector", "FaceDetector", "MediapipeDetector"]
