"""The example notebooks run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

NEEDED = {"recurrent_rl": "sb3_contrib"}
"""Packages that the tests do without."""

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path) -> None:
    if path.stem in NEEDED:
        pytest.importorskip(NEEDED[path.stem])
    runpy.run_path(str(path))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
