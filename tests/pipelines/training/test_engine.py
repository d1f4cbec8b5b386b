from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
import torch
from diffusers.optimization import get_scheduler

from phosphene.errors import AssetError, UsageError
from phosphene.pipelines.training.engine import EngineConfig, Schedule, TrainingResult, train

CONFIG = EngineConfig(
    epochs=4, batch_size=3, learning_rate=0.05, warmup_steps=2, ema_decay=0.9,
    checkpoint_every=2, seed=5,
)  # fmt: skip


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Dropout(0.0), torch.nn.Linear(6, 2))


def data() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(11, 4, generator=generator)
    return {"x": x, "y": x @ torch.randn(4, 2, generator=generator)}


def objective(
    model: torch.nn.Module,
    batch: Mapping[str, torch.Tensor],
    generator: torch.Generator,
    done: float,
) -> dict[str, torch.Tensor]:
    noise = 0.1 * torch.randn(batch["x"].shape, generator=generator)
    return {"loss": (model(batch["x"] + noise) - batch["y"]).square().mean()}


def validate(model: torch.nn.Module) -> float:
    return float((model(data()["x"]) - data()["y"]).square().mean())


def run(folder: Path, config: EngineConfig = CONFIG) -> TrainingResult:
    return train(network(), data(), objective, config, folder=folder, validate=validate)


def same(a: TrainingResult, b: TrainingResult) -> bool:
    return (
        a.history == b.history
        and a.best_step == b.best_step
        and all(torch.equal(a.state[name], b.state[name]) for name in a.state)
    )


def test_the_loss_falls_and_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first = run(tmp_path / "a")
    assert first.history[-1]["validation"] < 0.5 * validate(network())
    assert same(first, run(tmp_path / "b"))
    other = run(tmp_path / "c", CONFIG.model_copy(update={"seed": 6}))
    assert not same(first, other)


def test_the_best_validated_weights_are_kept(tmp_path: Path) -> None:
    result = run(tmp_path, CONFIG.model_copy(update={"learning_rate": 1.5, "epochs": 8}))
    model = network()
    model.load_state_dict(result.state)
    best = min(row["validation"] for row in result.history)
    assert validate(model) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("stop_after", [2, 5, 9])
def test_resuming_goes_through_the_same_numbers(tmp_path: Path, stop_after: int) -> None:
    """Stopped in the middle of an epoch, at a step between two checkpoints."""
    whole = run(tmp_path / "whole")
    steps = 0

    def stops(
        model: torch.nn.Module,
        batch: Mapping[str, torch.Tensor],
        generator: torch.Generator,
        done: float,
    ) -> dict[str, torch.Tensor]:
        nonlocal steps
        if steps == stop_after:
            raise KeyboardInterrupt
        steps += 1
        return objective(model, batch, generator, done)

    with pytest.raises(KeyboardInterrupt):
        train(network(), data(), stops, CONFIG, folder=tmp_path / "cut", validate=validate)
    resumed = run(tmp_path / "cut")
    assert same(whole, resumed)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match="other training settings"):
        run(tmp_path, CONFIG.model_copy(update={"batch_size": 4}))


def test_each_item_is_seen_once_per_epoch(tmp_path: Path) -> None:
    seen: list[float] = []

    def counting(
        model: torch.nn.Module,
        batch: Mapping[str, torch.Tensor],
        generator: torch.Generator,
        done: float,
    ) -> dict[str, torch.Tensor]:
        seen.extend(batch["x"][:, 0].tolist())
        return objective(model, batch, generator, done)

    train(network(), data(), counting, CONFIG, folder=tmp_path)
    everything = sorted(data()["x"][:, 0].tolist())
    for epoch in range(4):
        assert sorted(seen[epoch * 11 : epoch * 11 + 11]) == everything
    assert seen[:11] != seen[11:22]


def test_learning_curves_go_to_a_tracker(tmp_path: Path) -> None:
    run(tmp_path, CONFIG.model_copy(update={"trackers": ("tensorboard",)}))
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_autoencoder(tmp_path: Path) -> None:
    """The real command, a real SIGKILL, and the files compared byte by byte."""
    import numpy as np

    pictures = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "p.npy", pictures)

    def command(output: str, *more: str) -> list[str]:
        call = "from phosphene.cli.app import main; main()"
        return [sys.executable, "-c", call, "train", "autoencoder", "--pictures",
                str(tmp_path / "p.npy"), "--size", "8", "--channels", "1", "--latent", "3",
                "--output", str(tmp_path / output), "--epochs", "60",
                "--set", "training.checkpoint_every=3", "--set", "width=8", *more]  # fmt: skip

    subprocess.run(command("whole"), check=True, capture_output=True)
    with subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL) as process:
        while not list((tmp_path / "cut").glob(".partial/checkpoint/step-*")):
            time.sleep(0.005)
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [".partial"]
    refused = subprocess.run(command("cut"), check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    subprocess.run(command("cut", "--resume"), check=True, capture_output=True)
    for name in ("model.safetensors", "config.json", "samples.png"):
        whole, cut = (tmp_path / folder / name for folder in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes(), name


def test_dropout_is_seeded_by_its_step(tmp_path: Path) -> None:
    """So that a resumed training drops what the whole one dropped, whoever drew in between."""

    def dropping() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 2)
        )

    def disturbed(
        model: torch.nn.Module,
        batch: Mapping[str, torch.Tensor],
        generator: torch.Generator,
        done: float,
    ) -> dict[str, torch.Tensor]:
        found = objective(model, batch, generator, done)
        torch.rand(3)
        return found

    whole = train(dropping(), data(), objective, CONFIG, folder=tmp_path / "a", validate=validate)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    start = dropping()
    torch.set_rng_state(before)
    again = train(start, data(), disturbed, CONFIG, folder=tmp_path / "b", validate=validate)
    assert same(whole, again)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's own stream goes on


def test_patience_ends_a_training_that_no_longer_improves(tmp_path: Path) -> None:
    scores = iter([3.0, 2.0, 2.5, 1.0, 1.5, 1.2, 1.1, 0.5])
    config = CONFIG.model_copy(update={"epochs": 8, "patience": 2})

    def run_on(folder: Path) -> TrainingResult:
        return train(
            network(), data(), objective, config, folder=folder, validate=lambda _: next(scores)
        )

    result = run_on(tmp_path)
    assert [row["validation"] for row in result.history] == [3.0, 2.0, 2.5, 1.0, 1.5, 1.2]
    assert result.best_step == 16  # the end of the fourth epoch
    again = run_on(tmp_path)  # nothing is left to do
    assert same(result, again)
    assert next(scores) == 1.1


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path) -> None:
    def plain(
        model: torch.nn.Module,
        batch: Mapping[str, torch.Tensor],
        generator: torch.Generator,
        done: float,
    ) -> dict[str, torch.Tensor]:
        return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}

    config = CONFIG.model_copy(update={"batch_size": 5})
    whole = train(network(), data(), plain, config, folder=tmp_path / "a")
    parts = config.model_copy(update={"accumulate": 3})
    found = train(network(), data(), plain, parts, folder=tmp_path / "b")
    for name, value in whole.state.items():
        torch.testing.assert_close(found.state[name], value, rtol=1e-5, atol=1e-6)
    for row, other in zip(whole.history, found.history, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-5)


def test_settings_that_came_later_leave_older_checkpoints_valid() -> None:
    """A checkpoint of a release without them has this hash in its state."""
    from phosphene.pipelines.training.engine_config import config_hash
    from phosphene.storage import hash_bytes

    text = CONFIG.model_dump_json(exclude={"patience", "accumulate"})
    assert config_hash(CONFIG) == hash_bytes(text.encode())[:16]
    for name in ("patience", "accumulate"):
        assert config_hash(CONFIG.model_copy(update={name: 3})) != config_hash(CONFIG)


Step = tuple[float, float, list[float]]  # rate, norm of the gradient, weights


def seen_by_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Return a list that fills with the rate, the gradient's norm and the weights of each step."""
    found: list[Step] = []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW, *words: object, **more: object) -> object:
        group = self.param_groups[0]
        norm = torch.stack([one.grad.norm() for one in group["params"]]).norm()
        done = step(self, *words, **more)  # type: ignore[arg-type]
        weights = torch.cat([one.detach().flatten() for one in group["params"]])
        found.append((group["lr"], float(norm), weights.tolist()))
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    return found


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_rates_are_those_of_diffusers(
    schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen_by_the_optimizer(monkeypatch)
    run(tmp_path, CONFIG.model_copy(update={"schedule": schedule}))
    optimizer = torch.optim.SGD(network().parameters(), lr=0.05)
    expected = get_scheduler(schedule, optimizer, num_warmup_steps=2, num_training_steps=16)
    for rate, _, _ in found:
        assert rate == pytest.approx(expected.get_last_lr()[0])
        optimizer.step()
        expected.step()
    assert len(found) == 16
    if schedule != "constant":
        assert found[0][0] < found[2][0]  # warmed up


def test_averaged_weights_follow_their_recursion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen_by_the_optimizer(monkeypatch)
    start = torch.cat([one.detach().flatten() for one in network().parameters()])
    result = train(network(), data(), objective, CONFIG, folder=tmp_path)
    shadow = start.double()
    for number, (_, _, weights) in enumerate(found):
        decay = min(0.9, (1 + number) / (10 + number))
        shadow = decay * shadow + (1 - decay) * torch.tensor(weights).double()
    names = [name for name, _ in network().named_parameters()]
    kept = torch.cat([result.state[name].flatten() for name in names]).double()
    torch.testing.assert_close(kept, shadow, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(kept, torch.tensor(found[-1][2]).double(), atol=1e-4)


def test_gradients_are_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen_by_the_optimizer(monkeypatch)
    run(tmp_path / "a", CONFIG.model_copy(update={"gradient_clip": 0.0}))
    free = max(norm for _, norm, _ in found)
    found.clear()
    run(tmp_path / "b", CONFIG.model_copy(update={"gradient_clip": free / 10}))
    assert max(norm for _, norm, _ in found) == pytest.approx(free / 10, rel=1e-3)


def test_mixed_precision_is_mixed(tmp_path: Path) -> None:
    seen = set()

    def noting(
        model: torch.nn.Module,
        batch: Mapping[str, torch.Tensor],
        generator: torch.Generator,
        done: float,
    ) -> dict[str, torch.Tensor]:
        found = model[0](batch["x"])  # type: ignore[index]
        seen.add(found.dtype)
        return {"loss": (model(batch["x"]).float() - batch["y"]).square().mean()}

    for precision in ("no", "bf16"):
        config = CONFIG.model_copy(update={"precision": precision})
        result = train(network(), data(), noting, config, folder=tmp_path / precision)
        assert all(value.dtype == torch.float32 for value in result.state.values())
        assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert seen == {torch.float32, torch.bfloat16}
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="bf16"):
            run(tmp_path / "half", CONFIG.model_copy(update={"precision": "fp16"}))


def test_trackers_by_name(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run(tmp_path, CONFIG.model_copy(update={"trackers": ("tensorboard",)}))
    values: list[float] = []
    for events in (tmp_path / "logs").rglob("events.out.tfevents*"):
        accumulated = EventAccumulator(str(events)).Reload()
        if "validation" in accumulated.Tags()["scalars"]:  # settings have a file of their own
            values += [event.value for event in accumulated.Scalars("validation")]
    assert values == pytest.approx([row["validation"] for row in result.history], rel=1e-5)
    with pytest.raises(UsageError, match="tensorbord"):
        run(tmp_path / "b", CONFIG.model_copy(update={"trackers": ("tensorbord",)}))
    with pytest.raises(AssetError, match="aim is not installed"):
        run(tmp_path / "c", CONFIG.model_copy(update={"trackers": ("aim",)}))


def test_an_objective_may_say_in_which_order_items_come(tmp_path: Path) -> None:
    class Ordered:
        def __init__(self) -> None:
            self.seen: list[float] = []

        def order(self, seed: int, epoch: int) -> torch.Tensor | None:
            return torch.arange(11).roll(epoch) if epoch else None

        def __call__(
            self,
            model: torch.nn.Module,
            batch: Mapping[str, torch.Tensor],
            generator: torch.Generator,
            done: float,
        ) -> dict[str, torch.Tensor]:
            self.seen.extend(batch["x"][:, 0].tolist())
            return objective(model, batch, generator, done)

    ordered, plain = Ordered(), data()["x"][:, 0]
    train(network(), data(), ordered, CONFIG, folder=tmp_path)
    assert sorted(ordered.seen[:11]) == sorted(plain.tolist())
    assert ordered.seen[11:22] == plain.roll(1).tolist()
