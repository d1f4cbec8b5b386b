"""A folder of picture files, with captions in text files beside them."""

from __future__ import annotations

from pathlib import Path

from phosphene.data.pictures import Pictures, read_picture, read_pictures
from phosphene.errors import InputError
from phosphene.pipelines.retrieval.sources import Item, PictureSource
from phosphene.storage import hash_bytes

__all__ = ["PictureFolder"]


class PictureFolder(PictureSource):
    """Pictures below a folder; ``NAME.txt`` beside ``NAME.jpg`` is its caption.

    Identifiers are file names without their ending, with folders where names alone repeat.
    """

    def __init__(self, folder: str) -> None:
        self.name = str(Path(folder).resolve())
        names, pictures = read_pictures(folder)
        if names is None:
            raise InputError(f"{folder} is no folder of pictures", expected="a folder")
        self.ids = names
        self.files: list[Path] = list(pictures.files)  # type: ignore[union-attr]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def hash(self) -> str:
        lines = (
            f"{name}\t{file.stat().st_size}"
            for name, file in zip(self.ids, self.files, strict=True)
        )
        return hash_bytes("\n".join(lines).encode())[:16]

    def item(self, row: int) -> Item:
        text = self.files[row].with_suffix(".txt")
        caption = ""
        if text.is_file():
            caption = " ".join(text.read_text(encoding="utf-8", errors="replace").split())
        return Item(self.ids[row], str(self.files[row].resolve()), caption)

    def read(self, row: int) -> Pictures:
        return read_picture(self.files[row])
