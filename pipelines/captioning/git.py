"""Captions by the text decoder of GIT, which reads tokens in place of a picture's own.

Wang et al. 2022, *GIT: a generative image-to-text transformer for vision and language*; from
recordings, Ferrante et al. 2023 and Scotti et al. 2024. The network is that of transformers; only
its picture encoder gives way to tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import AssetError, InputError
from phosphene.names import resolve_folder
from phosphene.pipelines.captioning.base import Captioner
from phosphene.pipelines.captioning.token_converter import TokenConverter
from phosphene.pipelines.generators.pipeline_folder import without_bars
from phosphene.storage import hash_file, read_json, write_json
from phosphene.types import BrainEmbedding

__all__ = ["GitCaptioner", "fit_git_captioner", "git_tokens"]

CONVERTER, PLACE = "converter", "git.json"
BLOCK = 8  # items at a time; the last block is filled up, so that company changes nothing
MAX_TOKENS = 20
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class GitCaptioner(Captioner):
    """Writes a sentence word by word, the likeliest each time.

    Parameters
    ----------
    network : transformers.GitForCausalLM
        Its picture encoder is taken out.
    tokenizer : transformers tokenizer
    target : StimulusEncoder
        Whose embeddings are captioned.
    converter : TokenConverter
        From these embeddings to the tokens of GIT's picture encoder.
    source : str
        Where the network lies.
    weights : str
        Its identity.
    """

    name: ClassVar[str] = "git"

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        target: StimulusEncoder,
        converter: TokenConverter,
        *,
        source: str = "",
        weights: str = "",
    ) -> None:
        if converter.target != target.spec.hash:
            raise InputError(
                f"a converter of tokens of {converter.target}",
                expected=f"of the target {target.name}, {target.spec.hash}",
                remedy="fit the captioner on that target",
            )
        wanted = token_shape(network.config)
        if converter.result != wanted:
            raise InputError(
                f"a converter to tokens of shape {converter.result}",
                expected=f"{wanted}, those of the picture encoder of {source or 'this GIT'}",
                remedy="fit the captioner on that GIT",
            )
        self.network: Any = network.float().eval().requires_grad_(False)
        self.network.git.image_encoder = _Given()
        self.tokenizer, self.converter = tokenizer, converter
        self.source, self.weights = source, weights

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        stored = read_json(folder / PLACE)
        network, tokenizer, weights = load_git(stored["source"])
        if weights != stored["weights"]:
            raise InputError(
                f"the GIT in {stored['source']} has the weights {weights}",
                expected=f"{stored['weights']}, on which the captioner in {folder} was fitted",
                remedy="fetch the same release of these weights, or fit the captioner again",
            )
        converter = TokenConverter.from_pretrained(folder / CONVERTER)
        return cls(network, tokenizer, target, converter, source=stored["source"], weights=weights)

    def save(self, folder: Path) -> None:
        """Write the converter and where GIT lies; published weights stay where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        self.converter.save_pretrained(folder / CONVERTER)
        write_json(folder / PLACE, {"source": self.source, "weights": self.weights})

    @property
    def settings(self) -> dict[str, str]:
        return {"caption": self.name, "caption_weights": self.weights}

    def to(self, device: str | torch.device) -> Self:
        self.network.to(device)
        return self

    @torch.no_grad()
    def caption(self, condition: BrainEmbedding) -> list[str]:
        device = self.network.device
        found: list[str] = []
        tokens = condition.main
        for first in range(0, len(tokens), BLOCK):
            rows = torch.arange(first, first + BLOCK).clamp(max=len(tokens) - 1)
            given = self.converter(tokens[rows.to(tokens.device)]).to(device)
            start = torch.full((BLOCK, 1), int(self.tokenizer.cls_token_id), device=device)
            numbers = self.network.generate(
                input_ids=start,
                pixel_values=given[:, None],  # a picture has four axes
                max_new_tokens=MAX_TOKENS,
                do_sample=False,
                num_beams=1,
                eos_token_id=self.tokenizer.sep_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            words = self.tokenizer.batch_decode(numbers, skip_special_tokens=True)
            found += [one.strip() for one in words[: len(tokens) - first]]
        return found


class _Given(nn.Module):
    """Stands where the picture encoder stood, and hands on what it is given."""

    def forward(self, pixel_values: Tensor, **unused: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=pixel_values[:, 0])


def fit_git_captioner(
    source: str, target: StimulusEncoder, pictures: Pictures, *, penalty: float = 1.0
) -> GitCaptioner:
    """Return a captioner for a target, fitted on pictures; no captions are needed.

    Parameters
    ----------
    source : str
        ``local-dir:FOLDER`` or ``hf-hub:microsoft/git-large-coco``.
    target : StimulusEncoder
    pictures : ndarray of shape (n, H, W, 3)
        uint8; training pictures.
    penalty : float
        As for :meth:`TokenConverter.fit`.
    """
    network, tokenizer, weights = load_git(source)
    wanted = git_tokens(network, pictures)
    given = target.encode(pictures)
    given = given.reshape(len(given), -1, given.shape[-1])
    converter = TokenConverter(
        (given.shape[1], given.shape[2]), token_shape(network.config), target.spec.hash
    )
    converter.fit(given, wanted, penalty=penalty)
    return GitCaptioner(network, tokenizer, target, converter, source=source, weights=weights)


@torch.no_grad()
def git_tokens(network: Any, pictures: Pictures) -> Tensor:
    """Return the tokens (n, n_tokens, d) of GIT's own picture encoder.

    Parameters
    ----------
    network : transformers.GitForCausalLM
        With its picture encoder.
    pictures : ndarray of shape (n, H, W, 3)
        uint8.
    """
    encoder = network.git.image_encoder.eval()
    size = int(network.config.vision_config.image_size)
    fitted = fit_pictures(pictures, size=size, channels=3)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    parts = []
    for one in fitted:  # one at a time: company changes the rounding
        scaled = torch.from_numpy(one).permute(2, 0, 1)[None].float() / 255
        parts.append(encoder((scaled - mean) / std).last_hidden_state)
    return torch.cat(parts)


def token_shape(config: Any) -> tuple[int, int]:
    """Return the shape of the tokens of GIT's picture encoder, class token included."""
    vision = config.vision_config
    side = int(vision.image_size) // int(vision.patch_size)
    return side**2 + 1, int(vision.hidden_size)


def load_git(source: str) -> tuple[Any, Any, str]:
    """Return network, tokeniser and identity of a GIT on this machine or on the hub."""
    from transformers import AutoTokenizer, GitForCausalLM

    folder = resolve_folder(source)
    try:
        with without_bars():
            network = GitForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds
        raise AssetError(
            f"the GIT in {folder} could not be loaded ({error})",
            expected="config.json, model.safetensors and the tokeniser of a GitForCausalLM, "
            "such as microsoft/git-large-coco (licence: MIT)",
            remedy="name its folder with local-dir:FOLDER",
        ) from error
    return network, tokenizer, hash_file(folder / "model.safetensors")[:16]
