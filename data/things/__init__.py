"""Readers of the THINGS recordings in the forms in which they circulate."""

from phosphene.data.things.eeg2 import prepare_things_eeg2
from phosphene.data.things.forms import FORMS, recognise
from phosphene.data.things.stimulus_table import StimulusTable, read_stimulus_table
from phosphene.data.things.validation import ConceptSplit, choose_concepts
from phosphene.data.things.whitening import Whitening

__all__ = [
    "FORMS",
    "ConceptSplit",
    "StimulusTable",
    "Whitening",
    "choose_concepts",
    "prepare_things_eeg2",
    "read_stimulus_table",
    "recognise",
]
