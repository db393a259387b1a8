"""Unit tests need nothing. End-to-end tests need a daemon: $VECGRIDD_BIN, with --e2e or VECGRID_E2E=1."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--e2e", action="store_true", help="also test against the daemon at $VECGRIDD_BIN")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--e2e") or os.environ.get("VECGRID_E2E") == "1":
        if not os.environ.get("VECGRIDD_BIN"):
            raise pytest.UsageError("end-to-end tests need VECGRIDD_BIN, the path of a vecgridd binary")
        return
    left_out = [item for item in items if item.get_closest_marker("e2e")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("e2e")]
