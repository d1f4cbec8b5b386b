"""Output folders: a BIDS derivative, built aside and shown only when complete.

While a run goes on, everything lies in ``OUT/.partial``. ``dataset_description.json`` is moved
in last, so a folder that has it is finished, and one that has not can be resumed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import phosphene
from phosphene.data.pictures import Pictures, read_picture, write_picture
from phosphene.errors import UsageError
from phosphene.schemas import ImageSidecar, MetricsFile, OutputDescription, RunFile
from phosphene.storage import atomic_path, write_text
from phosphene.trials import UNKNOWN
from phosphene.workfolder import WorkFolder

if TYPE_CHECKING:
    from phosphene.pipelines.reconstruction import Reconstruction

__all__ = ["DESCRIPTION", "OutputFolder", "check_same_run", "metrics_table", "picture_name"]

DESCRIPTION = "dataset_description.json"


def picture_name(subject: str, item: int, sample: int) -> str:
    """Return the path of a picture below the output folder.

    Examples
    --------
    >>> picture_name("01", 3, 0)
    'sub-01/sub-01_item-000003_sample-00_desc-recon_image.png'
    """
    stem = f"sub-{subject}_item-{item:06d}_sample-{sample:02d}_desc-recon_image.png"
    return f"sub-{subject}/{stem}"


@dataclass(frozen=True, eq=False)
class OutputFolder:
    """One run's output while it is being written.

    Use :meth:`create`; ``work.finished`` is true when the very same run is complete already.
    """

    work: WorkFolder
    run: RunFile

    @staticmethod
    def check(folder: str | os.PathLike[str], *, resume: bool = False) -> None:
        """Refuse what :meth:`create` would refuse of the folder, without writing."""
        WorkFolder.find(folder, last=DESCRIPTION, resume=resume)

    @property
    def partial(self) -> Path:
        """Where files lie until the run is complete."""
        return self.work.partial

    @classmethod
    def create(
        cls, folder: str | os.PathLike[str], run: RunFile, *, resume: bool = False
    ) -> OutputFolder:
        """Open a new output folder, or an interrupted one with ``resume``.

        Raises
        ------
        UsageError
            If the folder holds something else, an interrupted run and ``resume`` is false, or
            a run with another configuration, model or input.
        """
        work = WorkFolder.open(folder, last=DESCRIPTION, resume=resume)
        stored = (work.root if work.finished else work.partial) / "run.json"
        if not stored.is_file():  # new, or killed before the first file
            run.save(stored)
            return cls(work, run)
        before = RunFile.load(stored)
        check_same_run(before, run, work.root)
        return cls(work, before)

    def item_pictures(self, subject: str, item: int) -> list[Pictures] | None:
        """Return an item's pictures when all its samples are written, else ``None``."""
        paths = [
            self.partial / picture_name(subject, item, sample)
            for sample in range(self.run.n_samples)
        ]
        if not all(path.is_file() and path.with_suffix(".json").is_file() for path in paths):
            return None
        return [read_picture(path) for path in paths]

    def write_item(self, result: Reconstruction, item: int) -> None:
        """Write an item's pictures, each with its sidecar (last, so it vouches for the picture)."""
        row = result.trials.iloc[item]
        subject = str(self.run.config["subject"])
        stimulus = str(row["stimulus_id"])
        for sample in range(result.images.shape[1]):
            path = self.partial / picture_name(subject, item, sample)
            write_picture(path, result.images[item, sample])
            ImageSidecar(
                subject=subject,
                item=item,
                sample=sample,
                stimulus_id=None if stimulus == UNKNOWN else stimulus,
                source_trials=str(row["source_trials"]).split(),
                seed=int(self.run.config["seed"]),
                item_seed=int(result.seeds[item, sample]),
                model=self.run.model,
                model_hash=self.run.model_hash,
                generator=str(self.run.config["generator"]),
                versions=self.run.versions,
            ).save(path.with_suffix(".json"))

    def finish(self, result: Reconstruction, *, stimuli: bool = True, log: str = "") -> Path:
        """Write tables, embeddings, metrics and report, then show the folder as complete."""
        from phosphene.pipelines.report import contact_sheet, render_report

        with atomic_path(self.partial / "embeddings.npz") as temporary:
            np.savez(temporary, **result.embeddings)  # type: ignore[arg-type]
        self._write_trials(result, stimuli=stimuli)
        if result.metrics is not None:
            result.metrics.save(self.partial / "metrics.json")
            write_text(self.partial / "metrics.tsv", metrics_table(result.metrics))
        write_text(self.partial / "log.txt", log)
        write_picture(self.partial / "grid.png", contact_sheet(result, stimuli=stimuli))
        write_text(self.partial / "report.html", render_report(result, stimuli=stimuli))
        OutputDescription(
            Name=f"phosphene reconstructions of sub-{self.run.config['subject']}",
            GeneratedBy=[
                {
                    "Name": "phosphene",
                    "Version": phosphene.__version__,
                    "Description": f"model {self.run.model} ({self.run.model_hash})",
                }
            ],
            SourceDatasets=[{"Version": f"input {self.run.input_hash}"}],
        ).save(self.partial / DESCRIPTION)
        return self.work.finish()

    def _write_trials(self, result: Reconstruction, *, stimuli: bool) -> None:
        import pandas as pd

        subject, shown = str(self.run.config["subject"]), result.truth is not None and stimuli
        rows = []
        for item, trial in enumerate(result.trials.to_dict("records")):
            truth = f"stimuli/item-{item:06d}.png" if shown else UNKNOWN
            if shown and result.truth is not None:
                write_picture(self.partial / truth, result.truth[item])
            stimulus, trials = trial.pop("stimulus_id"), trial.pop("source_trials")
            for sample in range(result.images.shape[1]):
                rows.append(
                    {
                        "item": item,
                        "sample": sample,
                        "stimulus_id": stimulus,
                        "file": picture_name(subject, item, sample),
                        "source_trials": trials,
                        "seed": int(result.seeds[item, sample]),
                        "truth": truth,
                    }
                    | trial
                )
        with atomic_path(self.partial / "trials.tsv") as temporary:
            pd.DataFrame(rows).to_csv(temporary, sep="\t", index=False, na_rep=UNKNOWN)


def check_same_run(stored: RunFile, run: RunFile, root: Path) -> None:
    """Refuse to go on with a run of another model, input or configuration."""
    for name in ("model_hash", "input_hash", "n_items", "n_samples"):
        if getattr(stored, name) != getattr(run, name):
            raise UsageError(
                f"the run in {root} has {name} {getattr(stored, name)}, this one "
                f"{getattr(run, name)}",
                expected="the same model, input and settings as the interrupted run",
                remedy="repeat the first command with --resume, or choose another --output",
            )
    differing = [key for key, value in run.config.items() if stored.config.get(key) != value]
    if differing:
        raise UsageError(
            f"the run in {root} was started with other settings: "
            + ", ".join(f"{key} was {stored.config.get(key)!r}" for key in differing),
            expected="the same settings as the interrupted run",
            remedy="repeat the first command with --resume, or choose another --output",
        )


def metrics_table(metrics: MetricsFile) -> str:
    """Return the metrics as tab-separated text, one line per number."""
    head = "metric value low high chance mean_picture n_items grey_picture p_value within_category"
    lines = ["\t".join(head.split())]
    for metric in metrics.metrics:
        low, high = metric.interval or (None, None)
        rivals, within = metric.baselines, metric.within_category
        values = (metric.value, low, high, metric.chance, rivals.get("mean_picture"))
        p_value = None if metric.permuted is None else metric.permuted.p_value
        more = (rivals.get("grey_picture"), p_value, None if within is None else within.value)
        cells, last = (
            [UNKNOWN if value is None else f"{value:.6g}" for value in part]
            for part in (values, more)
        )
        lines.append("\t".join([metric.id, *cells, str(metric.n_items), *last]))
    return "\n".join(lines) + "\n"
