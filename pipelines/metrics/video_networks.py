"""Networks that look at clips: classes of frames, classes of clips, CLIP features of frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget
from phosphene.errors import AssetError
from phosphene.names import require, resolve_folder
from phosphene.pipelines.metrics.clips import frame_features

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ClipClasses",
    "ClipPictureFeatures",
    "FrameClasses",
    "LiteClasses",
    "missing_folder",
    "missing_gate",
    "resampled_frames",
]

Array = np.ndarray[Any, Any]


def missing_folder(spec: object = None) -> str:
    """Return why a network of transformers is not there on its own."""
    return "the weights come with no Python package: give their folder as `weights_folder`"


def missing_gate(spec: object = None) -> str:
    """Return why the gated CLIP-pcc is absent."""
    return (
        "it is set to 0 by the score of a fine-tuned VIFI-CLIP, whose weights come with no Python "
        "package; the similarity itself is SelfSimilarity(pairs='adjacent')"
    )


class LiteClasses:
    """ImageNet classes of every frame by EfficientNet-Lite0, from its Python package."""

    def __init__(self) -> None:
        self.target = EfficientNetTarget()

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        """Return logits (n, 1000) of frames (H, W, 3)."""
        fitted = torch.from_numpy(fit_pictures(pictures, size=self.target.size, channels=3))
        features = self.target.features(fitted.permute(0, 3, 1, 2).float() / 255)
        logits: Tensor = self.target.network._fc(features)
        return logits

    def logits(self, clips: Pictures) -> Array:
        """Return logits (n, F, 1000) of clips (n, F, H, W, 3)."""
        return frame_features(clips, self)


class FrameClasses:
    """Classes of every frame by an image classifier of transformers.

    Parameters
    ----------
    weights_folder : str
        With safetensors weights and the settings of its image processor.
    """

    def __init__(self, weights_folder: str) -> None:
        self.network, self.processor = _load(weights_folder, "AutoModelForImageClassification")

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        """Return logits (n, C) of frames (H, W, 3)."""
        found: Tensor = self.network(**self.processor(list(pictures), return_tensors="pt")).logits
        return found

    def logits(self, clips: Pictures) -> Array:
        """Return logits (n, F, C) of clips (n, F, H, W, 3)."""
        return frame_features(clips, self)


class ClipClasses:
    """Classes of clips by a video classifier of transformers.

    Parameters
    ----------
    weights_folder : str
    stretch : bool
        Tell the network that it learned with as many frames as the clips have. Its table of
        positions is then another one. Otherwise frames are resampled to its own number.
    """

    def __init__(self, weights_folder: str, stretch: bool = False) -> None:
        self.folder, self.stretch = weights_folder, stretch
        self._for_frames: dict[int | None, tuple[Any, Any]] = {}

    @torch.no_grad()
    def logits(self, clips: Pictures) -> Array:
        """Return logits (n, C) of clips (n, F, H, W, 3), one clip at a time."""
        key = clips.shape[1] if self.stretch else None
        if key not in self._for_frames:
            more = {} if key is None else {"num_frames": key}
            self._for_frames[key] = _load(self.folder, "AutoModelForVideoClassification", **more)
        network, processor = self._for_frames[key]
        rows = []
        for clip in clips:
            frames = clip if self.stretch else resampled_frames(clip, network.config.num_frames)
            rows.append(network(**processor(list(frames), return_tensors="pt")).logits)
        return np.asarray(torch.cat(rows).to(torch.float32).cpu().numpy())


class ClipPictureFeatures:
    """Image features of a CLIP model of transformers.

    Parameters
    ----------
    weights_folder : str
    """

    def __init__(self, weights_folder: str) -> None:
        loaded = _load(weights_folder, "CLIPVisionModelWithProjection")
        self.network, self.processor = loaded

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        """Return features (n, d) of frames (H, W, 3)."""
        inputs = self.processor(list(pictures), return_tensors="pt")
        found: Tensor = self.network(pixel_values=inputs["pixel_values"]).image_embeds
        return found


def resampled_frames(clip: Pictures, count: int) -> Pictures:
    """Return ``count`` frames of a clip (F, H, W, 3), those nearest to equal steps of time.

    Examples
    --------
    >>> import numpy as np
    >>> clip = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    >>> resampled_frames(clip, 6).ravel().tolist()
    [0, 0, 1, 1, 2, 2]
    """
    places = ((np.arange(count) + 0.5) * len(clip) / count).astype(int)
    return np.asarray(clip[places])


def _load(folder: str, architecture: str, **config: Any) -> tuple[Any, Any]:
    """Return a network and its image processor; never fetched, never from a pickle."""
    transformers = require("transformers", "metrics")
    source = resolve_folder(folder)
    options = {"local_files_only": True}
    try:
        network = getattr(transformers, architecture).from_pretrained(
            source, use_safetensors=True, **options, **config
        )
        processor = transformers.AutoImageProcessor.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        raise AssetError(
            f"{source} does not load as {architecture} ({error})",
            expected="a folder that transformers wrote, with safetensors weights and the settings "
            "of the image processor",
            remedy="save model and processor with save_pretrained",
        ) from error
    return network.eval(), processor
