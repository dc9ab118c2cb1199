"""notice.json: what visitors of the batch page must know, kept in the bucket where the server reads it."""

from __future__ import annotations

import json
import threading

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.aws import Aws

KEY = "notice.json"
_AGAIN_SECONDS = 1.0


class Notice:
    """Writes the newest message in the background; waits for a bucket that somebody else creates."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket
        self._message = ""
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def say(self, message: str) -> None:
        """From now on this is the message; "" for none. Returns at once."""
        self._message = message
        self._changed.set()

    def start(self) -> None:
        """Once the server answers."""
        self._changed.set()
        self._thread.start()

    def close(self) -> None:
        """Writes no more."""
        self._stopping.set()
        self._changed.set()
        self._thread.join()

    def _keep(self) -> None:
        s3 = self._aws.client("s3")
        while self._changed.wait() and not self._stopping.is_set():
            self._changed.clear()
            body = json.dumps({"message": self._message, "disposable": True})
            try:
                s3.put_object(Bucket=self._bucket, Key=KEY, Body=body.encode(), ContentType="application/json")
            except (BotoCoreError, ClientError):
                self._stopping.wait(_AGAIN_SECONDS)
                self._changed.set()
