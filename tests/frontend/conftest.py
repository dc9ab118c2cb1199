"""What the tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.frontend.fake_batch_server import FakeBatchServer
from tests.frontend.fake_server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fresh fake server."""
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def cloud() -> Iterator[FakeBatchServer]:
    """A fresh fake server with batches, and its storage."""
    fake = FakeBatchServer()
    yield fake
    fake.close()
