from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Service, serve


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[Service]:
    """A server on efficientnet_lite0, for tests that leave it as they found it."""
    with serve(models_dir, threads=2, decode_threads=2) as service:
        yield service
