"""The origin: the dense network that shares are of, once units were taken out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Sizes of a dense network, plain numbers, for a checkpoint.

    Arguments:
        params: Parameters.
        macs: Multiply-adds of one sample's forward; None: not known.
        layers: By layer, its units, parameters and multiply-adds (None: not known).
    """

    params: int
    macs: int | None
    layers: Mapping[str, Mapping[str, int | None]]

    def of(self, measure: str) -> int:
        """The size in a measure.

        Raises:
            ValueError: It is not known.
        """
        size = self.params if measure == "params" else self.macs
        if size is None:
            raise ValueError(f"The {measure} of the dense network are not known any more.")
        return size

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and names."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Origin:
        """From `to_dict`."""
        return cls(int(state["params"]), state["macs"], dict(state["layers"]))
