"""Makes our config groups visible to every Hydra application, once the package is installed.

In the wheel this file also lies in the namespace `hydra_plugins`, where Hydra looks for plugins.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lightning_prune.configs import CONF


class LightningPruneSearchPath(SearchPathPlugin):
    """Appends `conf/`: after the application's own folders, so that their files win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append our folder unless the application already reads it, as our own command does."""
        ours = str(CONF)
        paths = [element.path for element in search_path.get_path()]
        if not any(path in (ours, f"file://{ours}") for path in paths):
            search_path.append(provider="lightning_prune", path=f"file://{ours}")
