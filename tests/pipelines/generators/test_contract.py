"""One contract over every generator of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators import GENERATORS
from phosphene.types import BrainEmbedding

N = 5
Case = Any  # of conftest: generator, target, embeddings, starts


def given(case: Case, rows: list[int] | None = None) -> BrainEmbedding:
    found: BrainEmbedding = case.condition(rows=rows)
    return found


def render(case: Case, rows: list[int], **more: Any) -> torch.Tensor:
    """Return pictures of some items, each with the stream of its own."""
    if more.get("init") is not None:
        more["init"] = more["init"][rows]
    streams = case.streams()
    found = case.generator.generate(
        given(case, rows),
        generators=[streams[row] for row in rows],
        output_type="pt",
        **more,
    )
    assert isinstance(found, torch.Tensor)
    return found


def starts(case: Case) -> None:
    if not case.starts:
        pytest.skip("takes no picture to start from")


def test_every_generator_is_here(kinds: set[str]) -> None:
    # Retrieval shows pictures of an index, on-demand opens another one: they have own tests.
    assert kinds | {"retrieval", "on-demand"} == set(GENERATORS.names())


def test_batch_equals_one_at_a_time_and_order_does_not_matter(case: Case) -> None:
    together = render(case, list(range(N)))
    for row in (3, 0):
        assert torch.allclose(render(case, [row])[0], together[row], atol=1e-5)
    order = [4, 1, 0, 3, 2]
    assert torch.allclose(render(case, order), together[order], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_the_same_from_a_start(case: Case) -> None:
    starts(case)
    init = case.latents()
    together = render(case, list(range(N)), init=init, strength=0.6)
    assert torch.allclose(render(case, [2], init=init, strength=0.6)[0], together[2], atol=1e-5)
    order = [3, 0, 4]
    found = render(case, order, init=init, strength=0.6)
    assert torch.allclose(found, together[order], atol=1e-5)


def test_items_do_not_mix(case: Case) -> None:
    changed = case.embeddings.clone()
    changed[1] += 5
    first, second = (
        case.generator.generate(case.condition(values), generators=case.streams(), output_type="pt")
        for values in (case.embeddings, changed)
    )
    others = [0, 2, 3, 4]
    assert torch.allclose(first[others], second[others], atol=1e-5)
    assert not torch.allclose(first[1], second[1], atol=1e-3)


def test_one_stream_per_item(case: Case) -> None:
    with pytest.raises(UsageError, match=f"4 random generators for {N} items"):
        case.generator.generate(given(case), generators=case.streams(4))


def test_strength_0_returns_the_start_and_1_ignores_it(case: Case) -> None:
    starts(case)
    init = case.latents()
    kept = render(case, list(range(N)), init=init, strength=0.0)
    other = case.embeddings.flip(0)
    again = case.generator.generate(
        case.condition(other),
        init=init, strength=0.0, generators=case.streams()[::-1], output_type="pt",
    )  # fmt: skip
    assert torch.equal(kept, again)  # neither embedding nor noise has a say
    own = getattr(case.generator, "inner", case.generator)  # whose pictures are refined
    decode = getattr(own, "decode", None) or own.latents.decode
    assert torch.allclose(kept, decode(init), atol=1e-5)
    ignored = render(case, list(range(N)), init=init, strength=1.0)
    assert torch.equal(ignored, render(case, list(range(N))))


def test_strength_0_on_pictures_is_the_autoencoders_copy(
    case: Case, tiny_pictures: Pictures
) -> None:
    starts(case)
    shown = torch.from_numpy(tiny_pictures[:N]).permute(0, 3, 1, 2) / 255
    kept = render(case, list(range(N)), init=shown, strength=0.0)
    if case.generator.name == "latent-diffusion":
        wanted = case.generator.latents.decode(case.generator.latents.to_latents(shown * 2 - 1))
    else:
        own = getattr(case.generator, "inner", case.generator)
        wanted = own.decode(own.encode(shown * 2 - 1))
    assert torch.allclose(kept, wanted, atol=1e-5)


def test_output_types(case: Case) -> None:
    array = case.generator.generate(given(case), generators=case.streams())
    tensor = case.generator.generate(given(case), generators=case.streams(), output_type="pt")
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.uint8
    assert array.shape == (N, *tensor.shape[-2:], 3)
    assert tensor.dtype == torch.float32
    assert float(tensor.min()) >= 0
    assert float(tensor.max()) <= 1
    rounded = (tensor * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    assert np.abs(array.astype(int) - rounded.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"strength": 0.5}, "without a picture to start from"),
        ({"strength": 1.5}, "from 0 to 1"),
        ({"num_inference_steps": 0}, "at least one step"),
        ({"init": torch.zeros(N, 1, 2, 2), "strength": 0.5}, "an init of shape"),
    ],
)
def test_wrong_use_is_one_message(case: Case, more: dict[str, Any], message: str) -> None:
    starts(case)
    with pytest.raises((UsageError, InputError), match=message):
        case.generator.generate(given(case), generators=case.streams(), **more)


def test_save_and_load_give_the_same_pictures(case: Case, tmp_path: Path) -> None:
    case.generator.save(tmp_path)
    again = case.load(tmp_path)
    first, second = (
        one.generate(given(case), generators=case.streams()) for one in (case.generator, again)
    )
    assert np.array_equal(np.asarray(first), np.asarray(second))


def test_embeddings_of_another_target_are_refused(case: Case, tmp_path: Path) -> None:
    if case.generator.name == "target-decoder":
        pytest.skip("it is the target's own")
    case.generator.save(tmp_path)
    with pytest.raises(InputError, match="renders embeddings of"):
        case.load(tmp_path, PixelTarget(8, 1))
