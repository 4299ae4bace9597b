"""A server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.apiserver.client import Client, serving


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server of its own."""
    async with serving() as found:
        yield found
