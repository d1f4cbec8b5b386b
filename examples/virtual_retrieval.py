"""A virtual subject's brain finds the seen scene among many, and what speed costs in accuracy.

    python examples/virtual_retrieval.py --subject 01 --pool 100000 --cache scene-keys

Scenes that no training used are rendered in blocks (about 100 per second and core), embedded by the
model's own target and kept in ``--cache``: an interrupted run goes on there. The recording of 100
other test scenes is decoded, and each prediction searches the pool and the seen scenes: exactly, by
a graph (HNSW), by codes (IVF-PQ), and with CSLS. Confidence is fitted on further scenes that are
neither training nor test. Everything here is virtual: equations, no person.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from phosphene.data.scenes import render, sample_scenes
from phosphene.data.virtual import VirtualSubject, choose_stimuli
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.pipelines.metrics import bootstrap_interval
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.retrieval.assembling import write_index
from phosphene.pipelines.retrieval.choice import choose
from phosphene.pipelines.retrieval.confidence import fit_confidence
from phosphene.pipelines.retrieval.exact_vectors import as_stored
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.key_encoder import KeyEncoder, keys_of
from phosphene.progress import progress
from phosphene.storage import load_array, new_folder, save_array

Array = np.ndarray[Any, Any]
BLOCK, SIZE, POOL_SEED = 1000, 64, 900_000  # no training or test uses seeds from here on


def scene_embeddings(target: StimulusEncoder, count: int, cache: Path) -> Iterator[Array]:
    """Yield target embeddings (n, ...) of test scenes, block by block, computed once.

    They are kept before any projection: another decoder of the same target finds them again.
    """
    starts = range(0, count, BLOCK)
    for number, start in enumerate(progress(starts, label="scenes", total=len(starts))):
        size = min(BLOCK, count - start)
        path = cache / target.spec.hash / f"scenes-{number:05d}-{size}.npy"
        if not path.is_file():
            scenes = sample_scenes(0, size, seed=POOL_SEED + number, split="test")
            found = target.encode(render(scenes, SIZE, threads=2).images)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_array(path, found.cpu().numpy().astype(np.float16))
        yield load_array(path)


def decoded(
    model: Reconstructor, subject: str, scenes: int, seed: int, preset: str
) -> tuple[Array, Array, list[str]]:
    """Return search keys of predictions and of the seen scenes, and the names of these."""
    someone = VirtualSubject(subject, preset=preset)
    stimuli = choose_stimuli(scenes, seed=seed)
    signal = someone.respond(stimuli.scenes, stimuli.images)
    simulation = someone.simulate(signal, repetitions=3, seed=seed)
    recording = simulation.recording(stimuli.ids, stimuli.splits).average("stimulus_id")
    places = {name: row for row, name in enumerate(stimuli.ids)}
    names = recording.trials["stimulus_id"].tolist()
    truth = model.parts.target.encode(stimuli.images[[places[name] for name in names]])
    found = model.search_keys(model.embed(recording).main)
    shown = model.search_keys(truth)
    return found.cpu().numpy(), shown.cpu().numpy(), [f"{seed}/{name}" for name in names]


def index_of(folder: Path, kind: str, encoder: KeyEncoder, blocks: list[Array]) -> Index:
    """Index keys that are computed already."""
    n = sum(map(len, blocks))
    items = pd.DataFrame({"id": [f"scene-{row:07d}" for row in range(n)], "path": "",
                          "caption": ""})  # fmt: skip

    def stored() -> Iterator[Array]:
        return iter(blocks)

    if not folder.is_dir():
        with new_folder(folder) as building:
            write_index(
                building,
                target_name=encoder.name,
                space=encoder.space,
                projector=encoder.projector,
                metric="cosine",
                choice=choose(n, encoder.space.dimension, kind=kind),
                automatic=False,
                items=items,
                skipped=pd.DataFrame(),
                sources=["rendered scenes"],
                blocks=stored,
                additions=[],
            )
    return Index.open(folder)


def line(name: str, ranks: Array) -> str:
    """Return top-1 and top-10 with 95 % intervals over scenes, and the median rank."""
    cells = []
    for k in (1, 10):
        hits = (ranks <= k).astype(np.float64)
        low, high = bootstrap_interval(hits)
        cells.append(f"{hits.mean():.3f} ({low:.3f}–{high:.3f})")
    return f"| {name} | {' | '.join(cells)} | {np.median(ranks):.1f} |"


def exact_ranks(queries: Array, truth_rows: Array, blocks: list[Array]) -> Array:
    """Return the rank of each seen scene by comparing with every key; ties count one half."""
    unit = [np.asarray(block, dtype=np.float64) for block in blocks]
    unit = [block / np.linalg.norm(block, axis=1, keepdims=True) for block in unit]
    everything = np.concatenate(unit)
    ranks = []
    for query, row in zip(queries.astype(np.float64), truth_rows, strict=True):
        scores = everything @ query
        own = scores[row]
        ranks.append(1 + (scores > own).sum() + ((scores == own).sum() - 1) / 2)
    return np.array(ranks)


def found_ranks(rows: Array, truth_rows: Array) -> Array:
    """Return the rank of each seen scene among what was found; infinite where it was not."""
    hits = rows == truth_rows[:, None]
    return np.where(hits.any(axis=1), 1 + hits.argmax(axis=1), np.inf)


def main() -> None:
    """Print a table, and calibration against the size of the pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="virtual-fmri")
    parser.add_argument("--subject", default="01")
    parser.add_argument("--pool", type=int, default=100_000, help="scenes beside the seen ones")
    parser.add_argument(
        "--embeddings", action="append", default=[], help="arrays of the target's, to join the pool"
    )
    parser.add_argument("--scenes", type=int, default=100, help="seen scenes")
    parser.add_argument("--calibration", type=int, default=200, help="scenes for confidence")
    parser.add_argument("--seed", type=int, default=7, help="of the recording; training has 1, 2")
    parser.add_argument("--preset", default="nsd-7t")
    parser.add_argument("--cache", default="scene-keys")
    options = parser.parse_args()
    model = Reconstructor.from_pretrained(options.model)
    encoder = KeyEncoder(options.model, model.parts.target, model.parts.retrieval)
    cache = Path(options.cache)
    others = [scene_embeddings(model.parts.target, options.pool, cache)]
    others += [iter([load_array(name)]) for name in options.embeddings]
    blocks = [
        as_stored(keys_of(block, encoder.projector), "cosine", source="scenes")
        for block in chain.from_iterable(others)
    ]
    options.pool = sum(map(len, blocks))
    who = (model, options.subject)
    queries, truth, names = decoded(*who, options.scenes, options.seed, options.preset)
    calibration = decoded(*who, max(options.calibration, 1), options.seed + 1000, options.preset)
    blocks.append(as_stored(truth, "cosine", source="seen scenes"))
    rows = options.pool + np.arange(len(truth))
    n = options.pool + len(truth)
    print(f"\nVirtual subject {options.subject}: {len(truth)} seen scenes among {n:,}\n")
    print("| search | top-1 | top-10 | median rank |\n|---|---|---|---|")
    exact = exact_ranks(queries, rows, blocks)
    print(line("exact, every key", exact))
    stem = f"{encoder.space.hash[:16]}-{options.subject}-{options.seed}-{n}"
    for kind in ("flat", "hnsw", "ivfpq"):
        index = index_of(cache / f"{stem}-{kind}", kind, encoder, blocks)
        ranks = found_ranks(index.search(queries, 50).rows, rows)
        print(line(kind, ranks))
        for k in (1, 10):
            gap = (ranks <= k).mean() - (exact <= k).mean()
            print(f"|   difference to exact, top-{k} | {gap:+.3f} | | |")
    csls = index.search(queries, 50, background=calibration[0]).rows
    print(line("ivfpq with CSLS, background of other predictions", found_ranks(csls, rows)))
    wrong = np.roll(np.arange(len(queries)), 1)
    print(line("shuffled brains", exact_ranks(queries[wrong], rows, blocks)))
    print(f"| chance | {1 / n:.6f} | {10 / n:.6f} | {(n + 1) / 2:.0f} |")
    if options.calibration >= 50:
        sizes = [size for size in (100, 1000, 10_000, 100_000) if size <= options.pool]
        fitted = fit_confidence(
            *calibration[:2],
            np.concatenate(blocks[:-1]),
            pictures=calibration[2],
            refused={*model.parts.protocol.train_stimulus_ids, *names},
            sizes=sizes,
            space=encoder.space.hash,
        )
        print(
            "\n| pool | k | hit rate | mean confidence | calibration error |\n|---|---|---|---|---|"
        )
        for point in fitted.points:
            print(
                f"| {point.pool:,} | {point.k} | {point.hit_rate:.3f} | "
                f"{point.mean_confidence:.3f} | {point.calibration_error:.3f} |"
            )


if __name__ == "__main__":
    main()
