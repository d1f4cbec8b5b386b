"""A tiny GIT of random weights on disk, as the hub's models lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.data.scenes import render, sample_scenes
from phosphene.encoders.stimulus.clip_vision import ClipVisionTarget

SIZE = 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cube", "ball", "and", "left"]


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    return render(sample_scenes(3, 24), SIZE).images


@pytest.fixture(scope="session")
def target(pictures: Pictures) -> ClipVisionTarget:
    torch.manual_seed(0)
    config = {
        "hidden_size": 12, "intermediate_size": 12, "projection_dim": 6, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": SIZE, "patch_size": 8,
    }  # fmt: skip
    made = ClipVisionTarget(config, "patches")
    made.standardise(pictures)
    return made


@pytest.fixture(scope="session")
def git_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GitConfig, GitForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("git")
    torch.manual_seed(1)
    config = GitConfig(
        vision_config={
            "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": SIZE, "patch_size": 8,
        },
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, bos_token_id=2, eos_token_id=3,
        pad_token_id=0,
    )  # fmt: skip
    network = GitForCausalLM(config)
    for parameter in network.parameters():  # larger than a fresh network's: pictures have a say
        parameter.data.mul_(3) if parameter.ndim > 1 else None
    network.save_pretrained(folder)
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    return folder
