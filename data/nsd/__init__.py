"""Readers of the Natural Scenes Dataset in the forms in which it circulates."""

from phosphene.data.nsd.forms import FORMS, recognise
from phosphene.data.nsd.prepare import NsdSettings, prepare_nsd

__all__ = ["FORMS", "NsdSettings", "prepare_nsd", "recognise"]
