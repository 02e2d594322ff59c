"""Fitting the face model to a photo: landmarks, light, skin tone, appearance."""
