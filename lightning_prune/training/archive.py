"""The archive: events in a checkpoint, compressed once each."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Archive:
    """Events as compressed JSON.

    Rows of layers are mostly alike, so they take a tenth of what they would as they are. What
    was compressed is kept and only grows, so a checkpoint costs the events since the one before.
    """

    def __init__(self) -> None:
        self._packer = zlib.compressobj()
        self._packed = bytearray(self._packer.compress(b"["))
        self._count = 0

    def pack(self, events: Sequence[Mapping[str, Any]]) -> Tensor:
        """(bytes,) uint8: the list of events.

        Arguments:
            events: All of them. Those before the last do not change any more.
        """
        for event in events[self._count : -1]:
            self._packed += self._packer.compress(json.dumps(event).encode() + b", ")
            self._count += 1
        packer = self._packer.copy()  # the last event is still open, and may change
        last = json.dumps(events[-1]) if events else ""
        end = packer.compress(last.encode() + b"]") + packer.flush()
        return torch.frombuffer(bytearray(self._packed + end), dtype=torch.uint8)

    @staticmethod
    def unpack(packed: Tensor) -> list[dict[str, Any]]:
        """The events."""
        return json.loads(zlib.decompress(packed.numpy().tobytes()))

    def __reduce__(self) -> tuple[type[Archive], tuple[()]]:
        # zlib's objects are not pickled, and the events themselves are at hand
        return Archive, ()
