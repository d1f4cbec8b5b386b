"""Read shards as they come, from a folder or an address, shared out among processes and workers.

Members are decoded by an allow-list of part names: a recording is read as an array without pickles,
a picture as a picture, facts as JSON, and whatever else a shard holds is never looked at.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.pictures import decode_picture
from phosphene.data.shards.writing import INDEX
from phosphene.errors import AssetError, InputError, PhospheneError, UsageError
from phosphene.schemas import Shard, ShardsFile
from phosphene.seeds import item_seed

if TYPE_CHECKING:
    import torch

__all__ = ["ShardSource", "decode_trial"]

SCHEMES = ("http", "https", "hf", "gs", "s3", "ais")
MAX_INDEX = 256 << 20  # bytes


def _read_array(content: bytes, source: str) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return found


def _read_picture(content: bytes, source: str) -> np.ndarray[Any, Any]:
    return decode_picture(io.BytesIO(content), source=source)


def _read_facts(content: bytes, source: str) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


DECODERS: dict[str, Callable[[bytes, str], Any]] = {
    "fmri.npy": _read_array,
    "eeg.npy": _read_array,
    "meg.npy": _read_array,
    "json": _read_facts,
    "png": _read_picture,
    "jpg": _read_picture,
    "jpeg": _read_picture,
}


def decode_trial(sample: Mapping[str, Any], *, pictures: bool = True) -> dict[str, Any]:
    """Return a trial: ``key``, ``data``, ``facts`` and, where there is one, ``picture``.

    Parameters
    ----------
    sample : mapping
        Bytes by part name, as webdataset reads them, with ``__key__`` and ``__url__``.
    pictures : bool
        Decode the picture.
    """
    source = f"{sample.get('__url__', 'a shard')}#{sample.get('__key__')}"
    found: dict[str, Any] = {"key": sample.get("__key__")}
    for part, decoder in DECODERS.items():
        if part not in sample or (decoder is _read_picture and not pictures):
            continue
        name = {_read_array: "data", _read_picture: "picture", _read_facts: "facts"}[decoder]  # type: ignore[index]
        try:
            found[name] = decoder(sample[part], source)
        except PhospheneError:
            raise
        except (ValueError, EOFError, OSError, RecursionError) as error:
            raise InputError(
                f"the part {part} of {source} is damaged ({error})",
                expected="an array without pickled objects, a picture or a JSON object",
                remedy="write the shards again, or copy them again from their source",
            ) from error
    if "data" not in found or "facts" not in found:
        raise InputError(
            f"{source} holds {', '.join(sorted(k for k in sample if not k.startswith('__')))}",
            expected="a recording (fmri.npy, eeg.npy or meg.npy) and json",
            remedy="write the shards with `phosphene prepare shards`",
        )
    return found


class ShardSource:
    """Shards of a dataset, in a folder or at an address.

    Parameters
    ----------
    place : str
        Folder, or address of one (``https://...``, ``hf://...``); ``pipe:`` is refused, since it
        runs commands.
    """

    def __init__(self, place: str) -> None:
        scheme = place.partition(":")[0] if "://" in place or place.startswith("pipe:") else ""
        if scheme and scheme not in (*SCHEMES, "file"):
            raise UsageError(
                f"shards at {place!r}",
                expected=f"a folder, or an address of {', '.join(SCHEMES)}",
                remedy="name the folder that `phosphene prepare shards` wrote, or where it lies",
            )
        self.remote = scheme not in ("", "file")
        self.place = place.removeprefix("file://").rstrip("/")
        with self._opened(INDEX) as stream:
            content = stream.read(MAX_INDEX)
        try:
            parsed = json.loads(content)
        except ValueError as error:
            raise InputError(
                f"{self.place}/{INDEX} is damaged ({error})", expected="a JSON object"
            ) from error
        self.index = ShardsFile.from_json(parsed, source=f"{self.place}/{INDEX}")

    def chosen(
        self, subjects: Sequence[str] | None = None, splits: Sequence[str] | None = ("train",)
    ) -> list[Shard]:
        """Return the shards of some subjects and splits."""
        return [
            shard
            for shard in self.index.shards
            if (subjects is None or shard.subject in subjects)
            and (splits is None or shard.split in splits)
        ]

    def address(self, shard: Shard) -> str:
        """Return where a shard lies."""
        return f"{self.place}/{shard.file}"

    def read(self, shard: Shard, *, pictures: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the trials of one shard in its order."""
        from webdataset.tariterators import group_by_keys, tar_file_expander

        address, seen = self.address(shard), 0
        with self._opened(shard.file) as stream:
            try:
                members = tar_file_expander([{"url": address, "stream": stream}])
                for sample in group_by_keys(members):
                    yield decode_trial(sample, pictures=pictures)
                    seen += 1
            except (OSError, EOFError, ValueError, _tar_error()) as error:
                raise _damaged(address, str(error.args[0] if error.args else error)) from error
        if seen != len(shard.rows):
            raise _damaged(address, f"{seen} trials in place of {len(shard.rows)}")

    def stream(
        self,
        *,
        subjects: Sequence[str] | None = None,
        splits: Sequence[str] | None = ("train",),
        seed: int | None = None,
        epoch: int = 0,
        pictures: bool = False,
    ) -> torch.utils.data.IterableDataset[dict[str, Any]]:
        """Return the trials as a data set of PyTorch: each once per epoch, over all processes.

        Parameters
        ----------
        subjects, splits : sequence of str, optional
            All where none are given.
        seed : int, optional
            Shuffles the shards, and the trials of each; in the order of writing without it.
        epoch : int
            Another order in each.
        pictures : bool
            Decode pictures along.
        """
        from webdataset import DataPipeline, SimpleShardList, split_by_node, split_by_worker

        shards = {self.address(one): one for one in self.chosen(subjects, splits)}
        addresses = sorted(shards)
        if seed is not None:
            addresses.sort(key=lambda one: item_seed(seed, "shards", one, epoch))
        _check_enough(len(addresses))

        def trials(source: Iterator[dict[str, str]]) -> Iterator[dict[str, Any]]:
            for one in source:
                shard = shards[one["url"]]
                found = self.read(shard, pictures=pictures)
                if seed is None:
                    yield from found
                    continue
                kept = list(found)
                draw = np.random.default_rng(item_seed(seed, "trials", shard.file, epoch))
                for place in draw.permutation(len(kept)):
                    yield kept[place]

        made: torch.utils.data.IterableDataset[dict[str, Any]] = DataPipeline(
            SimpleShardList(addresses), split_by_node, split_by_worker, trials
        )
        return made

    def _opened(self, name: str) -> Any:
        from webdataset.gopen import gopen

        address = f"{self.place}/{name}"
        try:
            if not self.remote:
                return Path(address).open("rb")
            return _Checked(gopen(address), address)
        except FileNotFoundError as error:
            raise InputError(
                f"there is no {address}",
                expected="a folder written by `phosphene prepare shards`",
                remedy="check the path",
            ) from error
        except OSError as error:
            raise _absent(address, error) from error


class _Checked:
    """A stream from elsewhere, whose failure is one clear message."""

    def __init__(self, stream: Any, address: str) -> None:
        self._stream, self._address = stream, address

    def read(self, *size: int) -> bytes:
        try:
            found: bytes = self._stream.read(*size)
        except OSError as error:
            raise _absent(self._address, error) from error
        return found

    def __enter__(self) -> _Checked:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._stream.close()
        except OSError as failure:
            if error[0] is None:
                raise _absent(self._address, failure) from failure


def _check_enough(n_shards: int) -> None:
    """Every process needs a shard of its own; workers without one are idle."""
    from webdataset.utils import pytorch_worker_info

    _, processes, _, _ = pytorch_worker_info()
    if n_shards < processes:
        raise UsageError(
            f"{n_shards} shards for {processes} processes",
            expected="at least one shard for each",
            remedy="write smaller ones: phosphene prepare shards --trials-per-shard 250",
        )


def _tar_error() -> type[Exception]:
    import tarfile

    return tarfile.TarError


def _damaged(address: str, found: str) -> InputError:
    return InputError(
        f"{address} is cut off or damaged ({found})",
        expected="a shard as `phosphene prepare shards` wrote it",
        remedy="copy it again from its source",
    )


def _absent(address: str, error: OSError) -> AssetError:
    return AssetError(
        f"{address} cannot be read ({error})",
        expected="shards that can be reached",
        remedy="check the address and the network, or copy the shards into a folder",
    )
