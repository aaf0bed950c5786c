"""Damage: whether the bytes of a file are those that torch wrote."""

from __future__ import annotations

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
