"""The record: the two files of a thin folder, written whole and read only if they still are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_prune.folder import RunFolder, plain

SCHEMA = 1
TENSORS, WIDTHS = "model.safetensors", "widths.json"
CHUNK = 1 << 20  # bytes read at a time
Record = dict[str, Any]


def write_record(folder: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files, the tensors first: a folder with half of them is known as such.

    Raises:
        ValueError: The format of the tensors does not know one of them, or the disk is full.
        TypeError: The record holds something else than numbers, strings, lists and dicts.
    """
    from safetensors.torch import save_file

    told = plain(record)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{TENSORS}.{os.getpid()}"
    try:
        save_file(dict(tensors), temporary)
        told["sha256"] = _of_file(temporary)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # safetensors writes for the owner only
        os.replace(temporary, folder / TENSORS)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        why = " ".join(str(error).split())
        raise ValueError(f"{str(folder / TENSORS)!r} cannot be written: {why}.") from error
    RunFolder(folder).write_json(WIDTHS, {**told, "checksum": _of_record(told)})


def read_record(folder: str | Path) -> Record:
    """What `widths.json` says.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is torn or damaged, or of another schema.
    """
    path = Path(folder) / WIDTHS
    if not path.is_file():
        raise FileNotFoundError(f"There is no thin module in {str(folder)!r}: it has no {WIDTHS}.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = record["schema"]
        found = record.pop("checksum", None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{str(path)!r} cannot be used: it is torn, or of something else."
        ) from None
    if schema != SCHEMA:
        raise ValueError(
            f"{str(path)!r} has schema {schema!r}, and this version reads {SCHEMA}; take the "
            f"version that wrote it ({record.get('library')})."
        )
    if found != _of_record(record):
        raise ValueError(f"{str(path)!r} cannot be used: it is not what was written.")
    return record


def read_tensors(folder: str | Path, record: Record) -> dict[str, Tensor]:
    """The tensors, every byte of which is as it was written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is torn or damaged.
    """
    from safetensors.torch import load_file

    path = Path(folder) / TENSORS
    if not path.is_file():
        raise FileNotFoundError(f"There is no thin module in {str(folder)!r}: it has no {TENSORS}.")
    if _of_file(path) != record["sha256"]:
        raise ValueError(
            f"{str(path)!r} cannot be used: it is torn, or of another {WIDTHS} than the one "
            "beside it."
        )
    return load_file(path)


def _of_record(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _of_file(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            found.update(part)
    return found.hexdigest()
