"""GIT reads tokens: the same sentences as from pictures, item by item."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.clip_vision import ClipVisionTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.captioning.base import open_captioner
from phosphene.pipelines.captioning.git import (
    GitCaptioner,
    fit_git_captioner,
    git_tokens,
    load_git,
    token_shape,
)
from phosphene.pipelines.captioning.token_converter import TokenConverter
from phosphene.types import BrainEmbedding


@pytest.fixture(scope="module")
def captioner(git_folder: Path, target: ClipVisionTarget, pictures: Pictures) -> GitCaptioner:
    return fit_git_captioner(f"local-dir:{git_folder}", target, pictures, penalty=1e-3)


def passing(target: ClipVisionTarget, shape: tuple[int, int]) -> TokenConverter:
    """Return a converter that hands tokens on as they are."""
    made = TokenConverter(shape, shape, target.spec.hash)
    made.over_tokens, made.over_numbers = torch.eye(shape[0]), torch.eye(shape[1])
    return made


def test_its_own_tokens_give_its_own_sentences(
    git_folder: Path, target: ClipVisionTarget, pictures: Pictures
) -> None:
    """The untouched network is given pictures, ours the tokens of its picture encoder."""
    network, tokenizer, _ = load_git(str(git_folder))
    tokens = git_tokens(network, pictures[:6])
    shown = torch.from_numpy(pictures[:6]).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    wanted = []
    for one in (shown - mean) / std:
        numbers = network.generate(
            input_ids=torch.tensor([[2]]), pixel_values=one[None], max_new_tokens=20,
            do_sample=False, eos_token_id=3, pad_token_id=0,
        )  # fmt: skip
        wanted.append(tokenizer.batch_decode(numbers, skip_special_tokens=True)[0].strip())
    converter = passing(target, token_shape(network.config))
    ours = GitCaptioner(network, tokenizer, target, converter)
    assert ours.caption(BrainEmbedding(tokens=tokens)) == wanted
    assert len(set(wanted)) > 1  # pictures have a say


def test_company_and_order_change_nothing(
    captioner: GitCaptioner, target: ClipVisionTarget, pictures: Pictures
) -> None:
    values = target.encode(pictures[:11])  # more than a block
    together = captioner.caption(BrainEmbedding(tokens=values))
    assert len(together) == 11
    for row in (0, 5, 10):
        assert captioner.caption(BrainEmbedding(tokens=values[row : row + 1])) == [together[row]]
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    again = captioner.caption(BrainEmbedding(tokens=values[order]))
    assert again == [together[row] for row in order.tolist()]


def test_it_is_saved_without_the_weights_of_git(
    captioner: GitCaptioner, target: ClipVisionTarget, pictures: Pictures, tmp_path: Path
) -> None:
    captioner.save(tmp_path / "captioner")
    files = [file.name for file in (tmp_path / "captioner").rglob("*") if file.is_file()]
    assert sorted(files) == ["config.json", "git.json", "model.safetensors"]
    again = open_captioner(f"git:{tmp_path / 'captioner'}", target)
    values = BrainEmbedding(tokens=target.encode(pictures[:5]))
    assert again.caption(values) == captioner.caption(values)
    assert again.settings == captioner.settings
    with pytest.raises(InputError, match="a converter of tokens of"):
        open_captioner(f"git:{tmp_path / 'captioner'}", PixelTarget(8, 3))
    path = tmp_path / "captioner" / "git.json"
    path.write_text(path.read_text().replace(captioner.weights, "0" * 16))
    with pytest.raises(InputError, match="the same release of these weights"):
        open_captioner(f"git:{tmp_path / 'captioner'}", target)


def test_what_is_missing_or_unknown_is_told(target: ClipVisionTarget, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="there is no model folder"):
        load_git(f"local-dir:{tmp_path / 'none'}")
    with pytest.raises(AssetError, match=r"git-large-coco \(licence: MIT\)"):
        load_git(str(tmp_path))
    with pytest.raises(UsageError, match="without a place"):
        open_captioner("git", target)
    with pytest.raises(UsageError, match="one of git, nearest"):
        open_captioner("blip:x", target)
