"""Low rank: weights as products of two, their spectra and the two layers that they become."""

from lightning_prune.lowrank.clustered import (
    ClusteredFactors,
    ClusteredFolding,
    clustered_from,
    factorise_clusters,
)
from lightning_prune.lowrank.clustering import Clustering, cluster
from lightning_prune.lowrank.factors import (
    Factors,
    balanced,
    compose,
    factorise,
    factors_of,
    foldable,
    folding_for,
    folding_of,
)
from lightning_prune.lowrank.folding import ENCODED, Folding, divisors, nearest_divisor, schemes_of
from lightning_prune.lowrank.form import dense_shapes, factored, follow_states, take_form
from lightning_prune.lowrank.spectra import remembered, singular_vectors, spectra

__all__ = [
    "ENCODED",
    "ClusteredFactors",
    "ClusteredFolding",
    "Clustering",
    "Factors",
    "Folding",
    "balanced",
    "cluster",
    "clustered_from",
    "compose",
    "dense_shapes",
    "divisors",
    "factored",
    "factorise",
    "factorise_clusters",
    "factors_of",
    "foldable",
    "folding_for",
    "folding_of",
    "follow_states",
    "nearest_divisor",
    "remembered",
    "schemes_of",
    "singular_vectors",
    "spectra",
    "take_form",
]
