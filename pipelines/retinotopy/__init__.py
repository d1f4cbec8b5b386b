"""Reading from visual cortex what moved over a screen, by receptive fields."""

from phosphene.pipelines.retinotopy.bar_decoder import BarDecoder, Decoded
from phosphene.pipelines.retinotopy.bar_evaluation import SplitResult, evaluate_split
from phosphene.pipelines.retinotopy.bar_recording import BarRecording, parse_ranges

__all__ = [
    "BarDecoder",
    "BarRecording",
    "Decoded",
    "SplitResult",
    "evaluate_split",
    "parse_ranges",
]
