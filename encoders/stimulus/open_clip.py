"""CLIP models through open_clip: pictures and words in one space, as pooled vector or tokens.

Radford et al. 2021, *Learning transferable visual models from natural language supervision*;
Ilharco et al. 2021, *OpenCLIP*. Folders written here are open_clip's own: they load with
``open_clip.create_model_and_transforms("local-dir:FOLDER")`` as well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.component import check_tensors, record_config
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import network_hash
from phosphene.encoders.stimulus.standardised import StandardisedTarget
from phosphene.errors import AssetError, UsageError, check_option
from phosphene.schemas import ComponentFile, TargetSpec
from phosphene.storage import load_tensors, read_json, save_tensors, write_json

__all__ = ["OpenClipTarget"]

BATCH = 128
CONFIG_NAME, WEIGHTS_NAME = "open_clip_config.json", "open_clip_model.safetensors"
STATISTICS_NAME = "statistics.safetensors"
START, END, PAD, UNKNOWN_WORD = "<start>", "<end>", "<pad>", "<unknown>"


class OpenClipTarget(StandardisedTarget):
    """Pictures to the standardised tokens, or the pooled embedding, of a CLIP model.

    Parameters
    ----------
    model : dict
        open_clip's ``model_cfg``: ``embed_dim``, ``vision_cfg`` and ``text_cfg``.
    words : list of str, optional
        Vocabulary of a tokeniser of whole words; open_clip's byte pairs without.
    output : {"tokens", "pooled"}
    grid : int
        Patch tokens are averaged to ``grid`` x ``grid``; 0 keeps them all.
    mean, std : sequence of 3 float
        Normalisation of colours in 0..1.
    """

    name = "open-clip"
    batch = BATCH
    mean: Tensor
    std: Tensor

    @record_config
    def __init__(
        self,
        model: dict[str, Any],
        words: list[str] | None = None,
        output: Literal["tokens", "pooled"] = "tokens",
        grid: int = 4,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        import open_clip

        check_option("output", output, ("tokens", "pooled"))
        self.output: Literal["tokens", "pooled"] = output
        self.words = words
        self.clip = open_clip.CLIP(**_with_vocabulary(model, words))
        self.size = int(model["vision_cfg"]["image_size"])
        side = self.size // int(model["vision_cfg"]["patch_size"])
        self.grid = grid or side
        if self.grid < 1 or side % self.grid:
            raise UsageError(f"a grid of {grid} for {side} x {side} patches", "a divisor of it")
        shape = (
            (self.grid**2, int(model["vision_cfg"]["width"]))
            if output == "tokens"
            else (int(model["embed_dim"]),)
        )
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.keep_moments(shape)

    @property
    def spec(self) -> TargetSpec:
        return TargetSpec(
            name=self.name,
            layer=f"patch tokens averaged to {self.grid} x {self.grid}, standardised"
            if self.output == "tokens"
            else "image features of unit length, standardised",
            output=self.output,
            shape=tuple(self.target_mean.shape),
            preprocessing={
                "size": self.size,
                "channels": 3,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": f"0..1, {self.config['mean']}, {self.config['std']}",
            },
            weights_hash=network_hash(self, self.config["model"]),
        )

    def normalise(self, pictures: Tensor) -> Tensor:
        """Return pictures (n, 3, H, W), uint8 or in 0..1, as the network takes them."""
        scaled = pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures
        normalised: Tensor = (scaled - self.mean) / self.std
        return normalised

    def features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features of unit length (n, d) and grid tokens (n, grid², width)."""
        out = self.clip.visual.forward_intermediates(
            self.normalise(pictures), indices=1, normalize_intermediates=True, output_fmt="NCHW"
        )
        patches = out["image_intermediates"][-1]
        tokens = F.avg_pool2d(patches, patches.shape[-1] // self.grid)
        return F.normalize(out["image_features"], dim=-1), tokens.flatten(2).transpose(1, 2)

    def unscaled(self, pictures: Pictures) -> Tensor:
        pooled, tokens = self.features(self.on_device(pictures))
        return tokens if self.output == "tokens" else pooled

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return word numbers (n, context) of texts."""
        text = self.config["model"]["text_cfg"]
        context = int(text.get("context_length", 77))
        if self.words is None:
            import open_clip

            if text.get("hf_tokenizer_name"):
                raise UsageError(
                    f"texts for a model whose words {text['hf_tokenizer_name']!r} number",
                    expected="open_clip's own byte pairs, or a vocabulary of whole words",
                    remedy="encode texts with open_clip.get_tokenizer, or use its pictures alone",
                )
            numbers: Tensor = open_clip.tokenize(list(texts), context_length=context)
            return numbers
        coded = _tokeniser(self.words, context).encode_batch(list(texts))
        return torch.tensor([one.ids for one in coded])

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return text features of unit length (n, embed_dim), beside pooled picture features."""
        self.eval()
        numbers = self.tokenize(texts).to(self.target_mean.device)
        found: Tensor = self.clip.encode_text(numbers, normalize=True)
        return found

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_tensors(target / WEIGHTS_NAME, dict(self.clip.state_dict()))
        save_tensors(
            target / STATISTICS_NAME, {"mean": self.target_mean, "scale": self.target_scale}
        )
        model = _with_vocabulary(self.config["model"], self.words)
        if self.words is not None:
            context = int(model["text_cfg"]["context_length"])
            _save_tokeniser(self.words, context, target)
        normalisation = {"mean": list(self.config["mean"]), "std": list(self.config["std"])}
        write_json(target / CONFIG_NAME, {"model_cfg": model, "preprocess_cfg": normalisation})
        ComponentFile(kind=self.kind, name=self.name, config=self.config).save(
            target / "config.json"
        )

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        source = Path(folder)
        stored = ComponentFile.load(source / "config.json")
        target = cls.from_config(stored.config, source=str(source / "config.json"))
        weights, statistics = (load_tensors(source / n) for n in (WEIGHTS_NAME, STATISTICS_NAME))
        found = {f"clip.{name}": value for name, value in weights.items()}
        found |= {f"target_{name}": value for name, value in statistics.items()}
        check_tensors(target.state_dict(), found, owner=f"target {cls.name}")
        target.load_state_dict(found, strict=True)
        return target

    @classmethod
    def from_open_clip(
        cls,
        name: str,
        pretrained: str | None = None,
        *,
        output: Literal["tokens", "pooled"] = "pooled",
        grid: int = 0,
    ) -> Self:
        """Take a published model by open_clip's name, ``local-dir:FOLDER`` or ``hf-hub:ID``.

        Parameters
        ----------
        name : str
            Such as ``ViT-L-14``.
        pretrained : str, optional
            open_clip's tag, such as ``openai``; a bare name needs one, since a model with random
            weights is never meant.
        output, grid
            As for the class.
        """
        import open_clip

        if pretrained is None and ":" not in name:
            raise UsageError(
                f"the open_clip model {name} without weights",
                expected="a tag of open_clip.list_pretrained(), local-dir:FOLDER or hf-hub:ID",
            )
        try:
            clip = open_clip.create_model(name, pretrained=pretrained, require_pretrained=True)
            known = name if ":" in name else name.replace("/", "-")  # as open_clip spells files
            config = open_clip.get_model_config(known)
            moments = list(clip.visual.image_mean), list(clip.visual.image_std)
            made = cls(config, _words_of(name), output, grid, *moments)
            made.clip.load_state_dict(clip.state_dict(), strict=True)
        except UsageError:
            raise
        except Exception as error:  # open_clip and the hub raise many kinds
            raise AssetError(
                f"the open_clip model {name} could not be loaded ({error})",
                expected="a known name of a CLIP model whose weights can be fetched or are cached",
                remedy="download it where there is a network, then name it with local-dir:FOLDER",
            ) from error
        return made


def _with_vocabulary(model: dict[str, Any], words: list[str] | None) -> dict[str, Any]:
    """Return open_clip's configuration for a vocabulary of whole words."""
    if words is None:
        return model
    text = {**model["text_cfg"], "vocab_size": len(words) + 4, "hf_tokenizer_name": "words"}
    return {**model, "text_cfg": text}


def _words_of(name: str) -> list[str] | None:
    """Return the vocabulary of a folder that was written here; none for other models."""
    kind, _, place = name.partition(":")
    path = Path(place) / "tokenizer.json"
    if kind != "local-dir" or not path.is_file():
        return None
    coded = read_json(path).get("model", {})
    numbers = coded.get("vocab", {})
    if coded.get("type") != "WordLevel" or not {START, END, PAD, UNKNOWN_WORD} <= set(numbers):
        return None
    words = sorted(numbers, key=numbers.__getitem__)
    return [word for word in words if word not in (START, END, PAD, UNKNOWN_WORD)]


def _tokeniser(words: list[str], context: int) -> Any:
    """Return a tokeniser of whole words; the end has the largest number, as CLIP looks for it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    order = [PAD, UNKNOWN_WORD, START, *words, END]
    numbers = {word: number for number, word in enumerate(order)}
    made = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN_WORD))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(w, numbers[w]) for w in (START, END)]
    )
    made.enable_truncation(context)
    made.enable_padding(length=context, pad_id=0, pad_token=PAD)
    return made


def _save_tokeniser(words: list[str], context: int, folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    kind: Any = PreTrainedTokenizerFast
    kind(
        tokenizer_object=_tokeniser(words, context),
        pad_token=PAD,
        unk_token=UNKNOWN_WORD,
        bos_token=START,
        eos_token=END,
    ).save_pretrained(folder)
