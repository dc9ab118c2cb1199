"""Where this stand-in is, for whoever speaks to it by boto3: its own parts, functions, job runs."""

from __future__ import annotations

import threading
from typing import Any

import boto3
from botocore.config import Config

from localcloud.settings import REGION


class Aws:
    """An address with the region and the keys that are no secret."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "localcloud",
            "AWS_SECRET_ACCESS_KEY": "localcloud",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    def client(self, service: str) -> Any:
        """The boto3 client, one for all threads, which may use one together but not make them at once.

        It goes through no proxy and looks at no profile, whatever the environment says.
        """
        with self._making:
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service,  # type: ignore[call-overload]  # the stubs know each service by its literal name
                    endpoint_url=self.url,
                    region_name=REGION,
                    aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
                    config=Config(proxies={}, retries={"mode": "standard"}, max_pool_connections=32),
                )
            return self._clients[service]
