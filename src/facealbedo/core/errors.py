"""The base of every error whose message is meant for the person at the keyboard."""

from __future__ import annotations


class FaceAlbedoError(Exception):
    """Something that the user can mend: the message says what is wrong and what to do; no traceback is needed."""
