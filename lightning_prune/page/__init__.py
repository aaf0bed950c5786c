"""The page: one self-contained report on any number of runs and sweeps."""

from lightning_prune.page.page import write_report

__all__ = ["write_report"]
