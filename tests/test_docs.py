"""The pages name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lightning_prune import methods
from lightning_prune.configs import CONF


def table(page: Path, heading: str) -> dict[str, str]:
    """First column to the rest, of the table whose first heading is given."""
    text = page.read_text().split(f"| {heading} |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*)$", text, flags=re.MULTILINE)
    return dict(rows)


def test_the_page_of_methods_is_the_table_of_methods(checkout: Path):
    rows = table(checkout / "docs" / "methods.md", "Name")
    assert set(rows) == set(methods())
    for name, method in methods().items():
        if method is not None:
            parts = (method.criterion, method.structure, method.allocation)
            assert re.findall(r"`(\w+)", rows[name])[:3] == [type(part).__name__ for part in parts]


def test_the_page_of_configuration_names_every_group_and_option(checkout: Path):
    rows = table(checkout / "docs" / "configuration.md", "Group")
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    parts = {"criterion", "structure", "allocation", "hydra"}
    assert set(rows) == groups - parts
    for group in set(rows) - {"method", "experiment"}:
        options = {path.stem for path in (CONF / group).glob("*.yaml")}
        assert set(re.findall(r"`(\w+)`", rows[group])) == options, group


def test_the_page_of_configuration_names_every_key(checkout: Path):
    import yaml

    rows = table(checkout / "docs" / "configuration.md", "Key")
    keys = set(yaml.safe_load((CONF / "train.yaml").read_text())) - {"defaults", "debug"}
    assert set(rows) == keys


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(
            f"docs/{page}.md"
            for page in (
                "methods",
                "configuration",
                "sweeps",
                "comparison",
                "continuous_depth",
                "low_rank",
                "thin",
                "beyond_accuracy",
            )
        ),
    ],
)
def test_links_between_pages_lead_somewhere(page: str, checkout: Path):
    path = checkout / page
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target
