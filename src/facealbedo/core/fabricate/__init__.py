"""Fabricated faces: albedo, light, camera and geometry are known, the picture is made from them."""
