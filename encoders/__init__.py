"""Encoders: of brain recordings (``brain``) and of pictures (``stimulus``)."""
