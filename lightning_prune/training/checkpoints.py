"""Checkpoints: whether a file is whole, and which one to resume from."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

CHUNK = 1 << 20  # bytes read at a time


def damage(path: str | Path) -> str | None:
    """What is wrong with a checkpoint file, or None if every byte is as it was written.

    Only the archive is read, by its checksums; nothing in it is executed or unpickled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            torn = [part.filename for part in archive.infolist() if _torn(archive, part)]
            names = archive.namelist()
    except Exception as error:  # a byte of the directory can make the reader fail in many ways
        return f"it is no whole archive ({type(error).__name__}: {error})"
    if torn:
        return f"its part {torn[0]} is not what was written"
    if not any(name.endswith("data.pkl") for name in names):
        return "it is an archive of something else"
    return None


def _torn(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    stored = part.compress_type == zipfile.ZIP_STORED and part.compress_size == part.file_size
    if not stored or part.comment or part.volume:
        return True  # torch writes no such thing
    if part.CRC == 0:  # empty, or torch was told to write no checksums
        return False
    try:
        with archive.open(part) as content:
            while content.read(CHUNK):
                pass
    except zipfile.BadZipFile:
        return True
    return False


def check_checkpoint(path: str | Path) -> Path:
    """The path, if it is a whole checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is torn, or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.")
    if (wrong := damage(path)) is not None:
        raise ValueError(
            f"The checkpoint {str(path)!r} cannot be used: {wrong}; take an earlier one."
        )
    return path


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The newest whole checkpoint in a folder or below it; torn ones are named and skipped."""
    found = sorted(
        Path(folder).rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    for path in found:
        if (wrong := damage(path)) is None:
            return path
        warnings.warn(f"Skipping the checkpoint {str(path)!r}: {wrong}.", stacklevel=2)
    return None
