"""Identity: what makes two runs the same run, and what makes two dense networks the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from lightning_prune.configs import MACHINE, OUTPUT, PATHS

if TYPE_CHECKING:
    from omegaconf import DictConfig

# what the pruned network alone has
PRUNING = {"method", "measure", "batches", "hold", "flatness"}
DIGITS = 12


def settings(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config; data folders stay references, since they are the machine's."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    assert isinstance(raw, dict)
    _refer(plain["data"], raw["data"])
    for name, shift in _shifts(plain).items():
        _refer(shift, _shifts(raw)[name])
    return {str(key): value for key, value in plain.items()}


def _shifts(config: dict) -> dict[str, Any]:
    """By name; configs of earlier versions have none."""
    return (config.get("evaluation") or {}).get("shifts") or {}


def _refer(resolved: dict, written: dict) -> None:
    if "root" in resolved:
        resolved["root"] = written["root"]


def run_identity(cfg: DictConfig) -> str:
    """12 hexadecimal digits: equal for configs that describe the same numbers."""
    return _hash(_essence(settings(cfg), OUTPUT))


def evaluation_identity(cfg: DictConfig) -> str | None:
    """Equal for evaluations that measure the same; None where nothing is asked for."""
    asked = settings(cfg).get("evaluation") or {}
    if not any(asked.get(name) for name in ("shifts", "noise", "features")):
        return None
    return _hash(_essence(asked, set()))


def control_identity(cfg: DictConfig, times: Mapping[int, float], unit: str) -> str:
    """Equal for runs whose dense controls are the same training.

    Arguments:
        cfg: The composed config.
        times: The events; the control rewinds when they happen, whatever they keep.
        unit: Of the times.
    """
    return _hash([_dense(cfg), sorted(times), unit])


def dense_identity(cfg: DictConfig, first: int, unit: str) -> str:
    """Equal for runs that are the same training until the first event.

    Arguments:
        cfg: The composed config.
        first: Time of the first event.
        unit: Of the time.
    """
    return _hash([_dense(cfg), first, unit])


def _dense(cfg: DictConfig) -> Any:
    """What a network that is never pruned depends on."""
    return _essence(settings(cfg), OUTPUT | PRUNING | {"schedule"})


def _essence(value: Any, without: set[str]) -> Any:
    """The value without the keys that change no number; of a path its last part is left."""
    if isinstance(value, Mapping):
        return {
            str(key): _name(entry) if key in PATHS else _essence(entry, MACHINE)
            for key, entry in value.items()
            if key not in without | MACHINE
        }
    if isinstance(value, list):
        return [_essence(entry, MACHINE) for entry in value]
    return value


def _name(path: Any) -> Any:
    """A reference as it is; the last part of a path, which is the data's and not the machine's."""
    return path if path is None or str(path).startswith("${") else PurePath(str(path)).name


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
