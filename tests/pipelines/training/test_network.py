"""Training of networks: through the command line, killed, resumed, shared out, adapted."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.config import resolve_config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.data.shards.writing import write_shards
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.bit import BITEncoder
from phosphene.errors import UsageError
from phosphene.pipelines.model_folder import load_model
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.adapt import AdaptConfig, adapt_model
from phosphene.pipelines.training.brain_materials import NetworkTraining, gather
from phosphene.pipelines.training.materials import load_target
from phosphene.pipelines.training.network import NetworkConfig, find_recipe, train_network
from phosphene.storage import load_tensors
from phosphene.types import Recording

OPTIONS: dict[str, dict[str, Any]] = {
    "roi_transformer": {"width": 16, "depth": 1, "heads": 2, "regions": 4},
    "mlp": {"width": 24, "depth": 1, "dropout": 0.1},
    "mindeye2": {"width": 24, "rank": 8, "latent_channels": [16, 16, 16]},
    "bit": {"width": 16, "depth": 1, "heads": 2, "clusters": 6, "profile_size": 8},
}
CONTRAST = {"contrastive": 0.1}  # its fall shows learning from a handful of trials
TRAINING = {"epochs": 8, "batch_size": 32, "learning_rate": 3e-3, "warmup_steps": 2}


def config(dataset: Path, parts: Path, output: Path, encoder: str, **more: Any) -> NetworkConfig:
    settings = {
        "dataset": str(dataset), "output": str(output), "encoder": encoder,
        "options": OPTIONS[encoder], "training": TRAINING, "strengths": (0.5, 1.0),
        "target": str(parts / "target"), "generator": str(parts / "generator"),
        "validation_pictures": 4,
    }  # fmt: skip
    return NetworkConfig.model_validate(settings | more)


@pytest.fixture(scope="module")
def trained(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a voxel-cluster transformer of subject 01."""
    folder = tmp_path_factory.mktemp("network") / "model"
    train_network(
        config(tiny_dataset, tiny_parts_folder, folder, "bit", subjects=("01",), losses=CONTRAST)
    )
    return folder


@pytest.mark.parametrize("encoder", ["mlp", "mindeye2"])
def test_a_shared_network_becomes_a_model_that_reconstructs(
    encoder: str, tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    settings = config(tiny_dataset, tiny_parts_folder, tmp_path / "m", encoder, half=True,
                      losses={"contrastive": 0.0})  # fmt: skip
    folder, summary = train_network(settings)
    assert set(summary) >= {"validation r2", "sub-02 identification", "strength", "best epoch"}
    parts = load_model(str(folder))
    assert parts.encoder.subjects == parts.preprocessor.subjects == ["01", "02"]
    assert not list(folder.glob(".*"))
    assert not (folder / "encoder-training").exists()
    protocol = parts.protocol
    assert len(protocol.train_stimulus_ids) == 32
    assert "8 held-out training pictures" in protocol.validation_rule
    history = parts.settings["history"]
    assert history[-1]["error"] < history[0]["error"]
    recording = CanonicalDataset.open(tiny_dataset).recording("02", splits=["validation"])
    reconstructor = Reconstructor(parts)
    result = reconstructor.reconstruct(recording, subject="02", average="stimulus")
    assert result.images.shape == (8, 1, 16, 16, 3)
    assert {"tokens", "lowlevel"} <= set(result.embeddings)


def test_the_command_line_trains_and_adapts(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    places = [
        "--target", str(tiny_parts_folder / "target"),
        "--set", f"generator={tiny_parts_folder / 'generator'}",
    ]  # fmt: skip
    small = ["--set", "options={width: 12}", "--set", "training={epochs: 1, batch_size: 16}"]
    call = ["train", "encoder", "--dataset", str(tiny_dataset), "--encoder", "mlp", "--subject",
            "01", "--output", str(tmp_path / "m"), "--set", "lowlevel=false"]  # fmt: skip
    result = CliRunner().invoke(app, [*call, *places, *small])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"model: {tmp_path / 'm'}"
    adapt = ["train", "adapt", "--model", str(tmp_path / "m"), "--dataset", str(tiny_dataset),
             "--subject", "02", "--sessions", "01", "--output", str(tmp_path / "n")]  # fmt: skip
    result = CliRunner().invoke(app, [*adapt, *small[2:]])
    assert result.exit_code == 0, result.output
    assert "before" in result.output
    assert result.output.splitlines()[-1] == f"model: {tmp_path / 'n'}"
    known = [*adapt[:6], "--subject", "01", "--output", str(tmp_path / "o")]
    again = CliRunner().invoke(app, known)
    assert again.exit_code == 2
    assert "knows sub-01 already" in again.output
    ridge = CliRunner().invoke(app, [*call[:4], "--resume", "--encoder", "ridge"])
    assert ridge.exit_code == 2
    assert "closed form" in ridge.output


def test_adapting_leaves_everybody_else_as_they_were(
    trained: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    before = load_model(str(trained))
    settings = AdaptConfig.model_validate({
        "model": str(trained), "dataset": str(tiny_dataset), "subject": "02",
        "output": str(tmp_path / "m"), "training": TRAINING | {"weight_decay": 0.5},
        "losses": CONTRAST,
    })  # fmt: skip
    folder, summary = adapt_model(settings)
    after = load_model(str(folder))
    assert isinstance(after.encoder, BITEncoder)
    assert after.encoder.subjects == ["01", "02"]
    assert after.protocol.subjects == ["01", "02"]
    assert set(after.protocol.n_train_trials) == {"01", "02"}
    old, new = (load_tensors(one / "encoder" / "model.safetensors") for one in (trained, folder))
    assert {name for name in new if name not in old} == {
        f"voxel_embed.sub-02.{part}" for part in ("embedding", "cluster", "profile")
    }
    for name, value in old.items():
        assert torch.equal(value, new[name]), name
    recording = CanonicalDataset.open(tiny_dataset).recording("01", splits=["validation"])
    assert torch.equal(_tokens(before, recording), _tokens(after, recording))
    history = after.settings["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert np.isfinite(summary["before"])
    with pytest.raises(UsageError, match="knows sub-01 already"):
        adapt_model(settings.model_copy(update={"subject": "01", "output": str(tmp_path / "x")}))


def _tokens(parts: Any, recording: Recording) -> torch.Tensor:
    found: torch.Tensor = parts.encoder.encode(parts.preprocessor.transform(recording)).tokens
    return found


def test_ridge_cannot_be_adapted(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    from phosphene.pipelines.training.decoder import DecoderConfig, train_decoder

    decoder = DecoderConfig.model_validate({
        "dataset": str(tiny_dataset), "output": str(tmp_path / "r"), "subjects": ("01",),
        "target": str(tiny_parts_folder / "target"), "token_rank": 4, "latent_rank": 4,
        "generator": str(tiny_parts_folder / "generator"), "prior": "none", "strengths": (1.0,),
    })  # fmt: skip
    train_decoder(decoder)
    settings = AdaptConfig(
        model=str(tmp_path / "r"), dataset=str(tiny_dataset), subject="02",
        output=str(tmp_path / "m"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="has the encoder ridge"):
        adapt_model(settings)


@pytest.mark.parametrize(
    ("name", "size"),
    # The low-level head of mindeye2 comes with the latents of a generator; bit has 161,408 numbers
    # of the picture-to-voxel encoder.
    [("mindeye1", 947_579_904), ("mindeye2", 1_952_271_000), ("brain_it", 43_400_448)],
)
def test_published_recipes_are_configurations(name: str, size: int) -> None:
    flags = {"dataset": "D", "output": "O"}
    recipe = resolve_config(NetworkConfig, file=find_recipe(name), flags=flags)
    shape = [257, 768] if name == "mindeye1" else [256, 1664]
    kind = BRAIN_ENCODERS.get(recipe.encoder)
    with torch.device("meta"):
        encoder = kind({"01": 15_724}, {"tokens": shape}, **recipe.options)
    assert sum(one.numel() for one in encoder.parameters()) == size


def test_other_names_of_recipes_are_refused(tmp_path: Path) -> None:
    assert find_recipe(None) is None
    assert find_recipe("own.yaml") == "own.yaml"
    (tmp_path / "own").touch()
    assert find_recipe(str(tmp_path / "own")) == str(tmp_path / "own")
    with pytest.raises(UsageError, match="brain_it, mindeye1, mindeye2, shared"):
        find_recipe("mindeye3")


def test_mistakes_are_refused_before_anything_is_written(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    wrong = config(tiny_dataset, tiny_parts_folder, tmp_path / "m", "mlp", options={"widht": 3})
    with pytest.raises(UsageError, match=r"widht[\s\S]*width, depth, dropout"):
        train_network(wrong)


def run_training(
    dataset: Path,
    parts: Path,
    output: Path,
    *more: str,
    environment: dict[str, str] | None = None,
    launcher: list[str] | None = None,
) -> subprocess.Popen[str]:
    """Start the real command in a process of its own, or behind what launches several."""
    start = [sys.executable, *(launcher or ["-c", "from phosphene.cli.app import main; main()"])]
    settings = [
        "--set", "options={width: 24, rank: 8, latent_channels: [16, 16, 16]}",
        "--set", "training={epochs: 12, batch_size: 16, checkpoint_every: 3, ema_decay: 0.9}",
        "--set", "strengths=[0.5]", "--set", "validation_pictures=2", "--set",
        "repetitions=random", "--set", f"generator={parts / 'generator'}",
    ]  # fmt: skip
    words = ["train", "encoder", "--encoder", "mindeye2", "--dataset", str(dataset), "--target",
             str(parts / "target"), "--output", str(output), *settings, *more]  # fmt: skip
    return subprocess.Popen(
        [*start, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    """A real SIGKILL, dropout and mixing and random repetitions in the loss, bytes compared."""
    whole = run_training(tiny_dataset, tiny_parts_folder, tmp_path / "whole")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    with run_training(tiny_dataset, tiny_parts_folder, tmp_path / "cut") as process:
        checkpoints = tmp_path / "cut" / ".partial" / "encoder-training" / "checkpoint"
        while not list(checkpoints.glob("step-*")):
            time.sleep(0.005)
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [".partial"]
    resumed = run_training(tiny_dataset, tiny_parts_folder, tmp_path / "cut", "--resume")
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    for name in ("encoder/model.safetensors", "protocol.json", "branch/config.json"):
        first, second = (tmp_path / folder / name for folder in ("whole", "cut"))
        assert first.read_bytes() == second.read_bytes(), name


def ranks(count: int) -> list[dict[str, str]]:
    """Return the environment of each of several processes on one machine."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def wait_for(running: list[subprocess.Popen[str]]) -> None:
    errors = [process.communicate(timeout=1800)[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), "\n\n".join(errors)


@pytest.mark.slow
def test_two_processes_write_one_model(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    """As the documentation launches them; without a GPU `--multi_gpu` starts them on the CPU."""
    script = tmp_path / "start.py"
    script.write_text("from phosphene.cli.app import main\nmain()\n")
    port = ranks(2)[0]["MASTER_PORT"]
    launcher = [
        "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", port, str(script),
    ]  # fmt: skip
    wait_for([run_training(tiny_dataset, tiny_parts_folder, tmp_path / "m", launcher=launcher)])
    assert load_model(str(tmp_path / "m")).encoder.subjects == ["01", "02"]


SCRIPT = """
import sys
from pathlib import Path
import torch
from phosphene.config import resolve_config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.mindeye2 import MindEye2Encoder
from phosphene.pipelines.training.brain_materials import NetworkTraining, gather
from phosphene.pipelines.training.engine import EngineConfig, train
from phosphene.pipelines.training.materials import load_target
from phosphene.storage import save_tensors

dataset, target, output, *shards = sys.argv[1:]
network = NetworkTraining(
    dataset=dataset, output=output, shards=shards[0] if shards else None, hold_gb=not shards,
    training=EngineConfig(epochs=2, batch_size=13, learning_rate=1e-2, schedule="constant"),
)
found = CanonicalDataset.open(dataset)
materials = gather(found, ["01", "02"], {"tokens": load_target(target)}, Preprocessor(), network)
torch.manual_seed(0)
shape = list(materials.objective.targets["tokens"].shape[1:])
model = MindEye2Encoder({"01": 30, "02": 30}, {"tokens": shape}, width=8, rank=4)
train(model, materials.objective.items.tensors(), materials.objective, network.engine,
      folder=Path(output))
import os
together = torch.distributed.is_available() and torch.distributed.is_initialized()
assert together == ("RANK" in os.environ)
if os.environ.get("RANK", "0") == "0":
    save_tensors(Path(output) / "weights.safetensors", model.state_dict())
"""


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_two_processes_go_where_one_goes(
    streamed: bool, tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    """The same gradients, contrastive ones included, in batches of an odd number.

    From one shard per subject the order is that of chance within it, for any number of processes.
    """
    more = [str(tmp_path / "shards")] if streamed else []
    if streamed:
        write_shards(CanonicalDataset.open(tiny_dataset), more[0])
    for count in (1, 2):
        words = [str(tiny_dataset), str(tiny_parts_folder / "target"), str(tmp_path / str(count))]
        words += more
        running = [
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, *words], env={**os.environ, **environment},
                stderr=subprocess.PIPE, text=True,
            )
            for environment in ranks(count)
        ]  # fmt: skip
        wait_for(running)
    one, two = (load_tensors(tmp_path / str(n) / "weights.safetensors") for n in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def test_trials_come_from_shards_alone(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    """The dataset's own recordings are gone; every shard is read once per epoch."""
    write_shards(CanonicalDataset.open(tiny_dataset), tmp_path / "shards", trials_per_shard=16)
    shutil.copytree(tiny_dataset, tmp_path / "d")
    for path in (tmp_path / "d" / "recordings").glob("sub-??.npy"):
        path.unlink()
    results = []
    for number, more in enumerate(({}, {"hold_gb": 0.0})):
        settings = config(
            tmp_path / "d", tiny_parts_folder, tmp_path / str(number), "mlp",
            shards=str(tmp_path / "shards"), lowlevel=False, **more,
        )  # fmt: skip
        _, summary = train_network(settings)
        results.append(summary)
        assert np.isfinite(list(summary.values())).all()
    assert results[0] != results[1]  # held, trials come by chance; streamed, shard by shard
    averaged = config(
        tmp_path / "d", tiny_parts_folder, tmp_path / "x", "mlp", repetitions="average",
        shards=str(tmp_path / "shards"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="different shards"):
        train_network(averaged)


def test_the_order_of_shards_has_each_item_once(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    dataset = CanonicalDataset.open(tiny_dataset)
    write_shards(dataset, tmp_path / "shards", trials_per_shard=8)
    settings = NetworkTraining(
        dataset=str(tiny_dataset), output="", shards=str(tmp_path / "shards"), hold_gb=0.0
    )
    target = {"tokens": load_model_target(tiny_parts_folder)}
    objective = gather(dataset, ["01", "02"], target, Preprocessor(), settings).objective
    first, second = (objective.order(0, epoch) for epoch in (0, 1))
    assert first is not None
    assert second is not None
    everything = list(range(len(objective.items)))
    assert sorted(first.tolist()) == sorted(second.tolist()) == everything
    assert not torch.equal(first, second)
    split = objective.store.order(objective.items, 0, 0, 2)
    assert split is not None
    assert sorted(split.tolist()) == everything
    held = gather(
        dataset, ["01"], target, Preprocessor(), settings.model_copy(update={"hold_gb": 1.0})
    ).objective
    assert held.order(0, 0) is None


def load_model_target(folder: Path) -> Any:
    return load_target(f"local-dir:{folder / 'target'}")


def test_regions_of_an_atlas_are_trained_and_adapted(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "01.npy", np.repeat([1, 2, 5], 10))
    np.save(tmp_path / "02.npy", np.repeat([5, 0, 1], 10))
    for name in ("01", "02"):
        (tmp_path / f"{name}.tsv").write_text("index\tname\n1\tV1\n2\tV2\n5\tLO\n")
    settings = config(
        tiny_dataset, tiny_parts_folder, tmp_path / "m", "roi_transformer", subjects=("01",),
        regions=str(tmp_path / "{subject}.npy"), lowlevel=False,
    )  # fmt: skip
    train_network(settings)
    adapt = {
        "model": str(tmp_path / "m"), "dataset": str(tiny_dataset), "subject": "02",
        "output": str(tmp_path / "n"), "training": TRAINING,
    }  # fmt: skip
    with pytest.raises(UsageError, match="no atlas for sub-02"):
        adapt_model(AdaptConfig.model_validate(adapt | {"output": str(tmp_path / "o")}))
    atlas = adapt | {"regions": str(tmp_path / "{subject}.npy")}
    adapt_model(AdaptConfig.model_validate(atlas))
    encoder = load_model(str(tmp_path / "n")).encoder
    assert encoder.regions == ("V1", "V2", "LO")
    assert {k: int(v.sum()) for k, v in encoder.region_masks("01").items()} == {
        "V1": 10, "V2": 10, "LO": 10,
    }  # fmt: skip
    assert {k: int(v.sum()) for k, v in encoder.region_masks("02").items()} == {"V1": 10, "LO": 10}


def test_clusters_come_from_a_picture_to_voxel_encoder(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    learned = {"training": {"epochs": 3, "batch_size": 16}, "voxels_per_step": 20}
    options = OPTIONS["bit"] | {"profiles": "universal"}
    settings = config(
        tiny_dataset, tiny_parts_folder, tmp_path / "m", "bit", subjects=("01",), options=options,
        voxel_encoder=learned, lowlevel=False, training=TRAINING | {"trackers": ("tensorboard",)},
    )  # fmt: skip
    train_network(settings)
    assert list((tmp_path / "m" / "logs").rglob("events.out.tfevents*"))  # kept with the model
    before = load_tensors(tmp_path / "m" / "encoder" / "model.safetensors")
    assert before["readout.query.weight"].shape == (32, 8)
    adapt = AdaptConfig.model_validate({
        "model": str(tmp_path / "m"), "dataset": str(tiny_dataset), "subject": "02",
        "output": str(tmp_path / "n"), "training": TRAINING, "voxel_encoder": learned,
    })  # fmt: skip
    adapt_model(adapt)
    after = load_tensors(tmp_path / "n" / "encoder" / "model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    profile = after["voxel_embed.sub-02.profile"]
    assert profile.shape == (30, 8)
    assert profile.any()
    assert len(set(after["voxel_embed.sub-02.cluster"].tolist())) > 1
