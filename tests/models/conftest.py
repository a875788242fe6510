"""What the tests of architectures find, and its table at the end of a run."""

from __future__ import annotations

import pytest

from tests.models.findings import Finding, table

FINDINGS = pytest.StashKey[dict[str, Finding]]()


@pytest.fixture(scope="session")
def findings(pytestconfig: pytest.Config) -> dict[str, Finding]:
    """By architecture, filled by the tests."""
    return pytestconfig.stash.setdefault(FINDINGS, {})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash.get(FINDINGS, {})
    if found:
        terminalreporter.section("architectures, as docs/architectures.md has them")
        terminalreporter.write_line(table(found))
