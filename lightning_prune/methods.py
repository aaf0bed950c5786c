"""Methods: what matters, what stays or goes as a whole, and how much each layer keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightning_prune.allocations import (
    ERK,
    Allocation,
    EqualError,
    Patterned,
    Threshold,
    Uniform,
    UniformRows,
    WaterFilling,
)
from lightning_prune.criteria import (
    PCA,
    SET,
    SNIP,
    Criterion,
    EnergyPerCost,
    Magnitude,
    MeanActivation,
    Random,
    RigL,
    SiPP,
    SpectralError,
    SynFlow,
    TailError,
    Taylor,
    ThiNet,
    Wanda,
)
from lightning_prune.structures import (
    Blocks,
    Channels,
    Clusters,
    Filters,
    Pattern,
    Ranks,
    Structure,
    Weights,
)


@dataclass(frozen=True)
class Method:
    """A row of the table: criterion, structure, allocation.

    Raises:
        ValueError: The criterion or the allocation is not defined for the structure.
        TypeError: A part is of another family.
    """

    criterion: Criterion
    structure: Structure
    allocation: Allocation

    def __post_init__(self) -> None:
        for part, family in (
            (self.criterion, Criterion),
            (self.structure, Structure),
            (self.allocation, Allocation),
        ):
            if not isinstance(part, family):
                raise TypeError(
                    f"Method takes a criterion, a structure and an allocation in this order; "
                    f"{part!r} is no {family.__name__}."
                )
        if not isinstance(self.structure, self.criterion.needs):
            raise ValueError(
                f"{type(self.criterion).__name__} is defined for {self.criterion.needs.__name__} "
                f"structures, not for {type(self.structure).__name__}."
            )
        if (why := self.criterion.refused(self.structure)) is not None:
            raise ValueError(why)
        if not isinstance(self.structure, self.allocation.needs):
            raise ValueError(
                f"{type(self.allocation).__name__} is defined for {self.allocation.needs.__name__} "
                f"structures, not for {type(self.structure).__name__}."
            )
        if self.structure.round_to > 1 and (self.allocation.expected or not self.allocation.cuts):
            raise ValueError(
                f"{type(self.allocation).__name__} leaves what it draws or is told to, so widths "
                "cannot be rounded; use round_to=1, or an allocation that cuts one order."
            )
        if isinstance(self.structure, Pattern) and not issubclass(self.allocation.needs, Pattern):
            raise ValueError(
                f"{type(self.allocation).__name__} would not leave {self.structure.n} of every "
                f"{self.structure.m} weights; the structure Pattern needs the allocation Patterned."
            )


_TABLE: dict[str, Callable[[], Method | None]] = {
    "none": lambda: None,
    "magnitude": lambda: Method(Magnitude(), Weights(), Threshold()),
    "magnitude_clean": lambda: Method(Magnitude(), Weights(clean=True), Threshold()),
    "magnitude_layerwise": lambda: Method(Magnitude(), Weights(), Uniform()),
    "lamp": lambda: Method(Magnitude(), Weights(), Threshold(scale="lamp")),
    "erk": lambda: Method(Magnitude(), Weights(), ERK()),
    "set": lambda: Method(SET(), Weights(), ERK()),
    "rigl": lambda: Method(RigL(), Weights(), ERK()),
    "filter_norm": lambda: Method(Magnitude(), Filters(), Uniform()),
    "filter_norm_global": lambda: Method(Magnitude(), Filters(), Threshold(scale="layer_max")),
    "channel_norm": lambda: Method(Magnitude(), Channels(), Uniform()),
    "channel_norm_global": lambda: Method(Magnitude(), Channels(), Threshold(scale="layer_max")),
    "pattern_2_4": lambda: Method(Magnitude(), Pattern(2, 4), Patterned()),
    "block_magnitude": lambda: Method(Magnitude(), Blocks(4, 4), Threshold()),
    "sipp": lambda: Method(SiPP(), Weights(), Threshold()),
    "sipp_rand": lambda: Method(SiPP("max"), Weights(), WaterFilling("random")),
    "sipp_hybrid": lambda: Method(SiPP("max"), Weights(), WaterFilling("hybrid")),
    "snip": lambda: Method(SNIP(), Weights(), Threshold()),
    "snip_filters": lambda: Method(SNIP(), Filters("sum"), Threshold()),
    "taylor": lambda: Method(Taylor(), Filters("sum"), Threshold()),
    "synflow": lambda: Method(SynFlow(), Weights(), Threshold()),
    "wanda": lambda: Method(Wanda(), Weights(), UniformRows()),
    "pfp": lambda: Method(SiPP("max"), Channels("max"), EqualError()),
    "pfp_rand": lambda: Method(SiPP("max"), Channels("max"), EqualError("random")),
    "pfp_partial": lambda: Method(SiPP("max"), Channels("max"), EqualError("partial")),
    "thinet": lambda: Method(ThiNet(), Channels(), Uniform()),
    "mean_activation": lambda: Method(MeanActivation(), Channels(), Uniform()),
    "svd": lambda: Method(Magnitude(), Ranks(), Uniform()),
    "svd_energy": lambda: Method(TailError(), Ranks(), Threshold()),
    "svd_nuclear": lambda: Method(TailError("nuclear"), Ranks(), Threshold()),
    "svd_error": lambda: Method(SpectralError(), Ranks(), Threshold()),
    "alds": lambda: Method(SpectralError(), Ranks("divisors"), Threshold()),
    "alds_sqrt_k": lambda: Method(SpectralError("sqrt_k"), Ranks("divisors"), Threshold()),
    "alds_max": lambda: Method(SpectralError("max"), Ranks("divisors"), Threshold()),
    "alds_energy": lambda: Method(TailError(), Ranks("divisors"), Threshold()),
    "alds_plus": lambda: Method(SpectralError(), Ranks("divisors", range(4)), Threshold()),
    "pca": lambda: Method(PCA(), Ranks(), Threshold()),
    "l_rank": lambda: Method(EnergyPerCost(), Ranks(), Threshold()),
    "messi": lambda: Method(Magnitude(), Clusters(), Uniform()),
    "snip_ranks": lambda: Method(SNIP(mode="eval"), Ranks(), Threshold()),
    "random": lambda: Method(Random(), Weights(), Threshold()),
    "random_filters": lambda: Method(Random(), Filters(), Threshold()),
}


def methods() -> dict[str, Method | None]:
    """The table of methods by name; `none` is the dense control, which prunes nothing."""
    return {name: make() for name, make in _TABLE.items()}


def find_method(method: str | Method | None) -> Method | None:
    """A method by its name; a `Method` is handed through.

    Raises:
        ValueError: There is no method of that name.
    """
    if not isinstance(method, str):
        return method
    if method not in _TABLE:
        raise ValueError(
            f"There is no method {method!r}; there are {', '.join(_TABLE)}, and Method(...) "
            "composes others."
        )
    return _TABLE[method]()


def method_name(method: str | Method | None) -> str:
    """The name of a row of the table, or the parts of a method that is none."""
    found = find_method(method)
    for name, row in methods().items():
        if row == found:
            return name
    return repr(found)
