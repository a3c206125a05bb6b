"""The server's own source files, for the tests that read them."""

from pathlib import Path

from tests.support.settings import ROOT

FEWEST = 39  # modules: a scan that sees fewer looks in the wrong place


def modules() -> list[Path]:
    """Every Python file of chat/, at any depth."""
    paths = sorted((ROOT / "chat").rglob("*.py"))
    assert len(paths) >= FEWEST, f"only {len(paths)} modules were found"
    return paths
