"""One person's view of the batches: the list at the last look, the one that is selected, and what was asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from frontend.api import Api, ApiError, Busy, Model, Refused, Unreachable, VariantName
from frontend.batches import Batch, Batches, Listing
from frontend.tokens import Token

__all__ = ["Desk", "Trouble"]

LOOK_EVERY = 0.9
"""Seconds for which a look counts as fresh: the parts of the page that move look at their own beats."""
MODELS_EVERY = 10.0


@dataclass(frozen=True)
class Trouble:
    """Why there is no list. `kind`: away (no answer), starting, storage (S3 is away), off (no bucket), other."""

    kind: Literal["away", "starting", "storage", "off", "other"]
    words: str


@dataclass
class Desk:
    """The state of one browser session at the batch page. `changes` counts what a page drawn earlier does not show."""

    api: Api
    batches: Batches
    clock: Callable[[], float] = time.monotonic
    listing: Listing | None = None
    trouble: Trouble | None = None
    selected: str | None = None
    words: str = ""
    """What the server answered to the last thing that was asked of it, where that was a refusal."""
    uploading: str | None = None
    """The batch that this person's browser is sending."""
    needs: str | None = None
    """The model for which the selected zip has to be preprocessed first."""
    changes: int = 0
    models: tuple[Model, ...] | None = None
    """What may be asked; None while nobody could tell."""
    _token: Token | None = field(default=None, repr=False)
    _looked: float = float("-inf")
    _models_looked: float = float("-inf")
    _shown: object = field(default=None, repr=False)

    @property
    def current(self) -> Batch | None:
        """The selected batch, if it is still there."""
        batches = self.listing.batches if self.listing else ()
        return next((batch for batch in batches if batch.id == self.selected), None)

    @property
    def moving(self) -> bool:
        """Whether something may change by itself soon."""
        return self.listing is None or self.trouble is not None or any(b.moving for b in self.listing.batches)

    def look(self, *, afresh: bool = False) -> None:
        """Looks at the server, unless that was done a moment ago. Never raises."""
        if not afresh and self.clock() - self._looked < LOOK_EVERY:
            return
        if self._token and self.clock() >= self._token.until:
            before, self._token = self._token, self.batches.tokens.upload(self._token)
            if self._token.words != before.words:
                self.changes += 1  # what the browser was handed is over soon: drawn anew, it gets this one
        if self.selected and self.batches.tokens.is_over(self.selected):
            self.changes += 1
        try:
            self.listing, self.trouble = self.batches.all(), None
        except ApiError as error:
            self.trouble = _trouble(error)
        self._looked = self.clock()
        seen = (self.trouble, self.listing and _at_rest(self.listing))
        if seen != self._shown:
            self._shown = seen
            self.changes += 1

    def upload_token(self) -> str:
        """What the browser sends the next zip by; empty where none is needed."""
        self._token = self.batches.tokens.upload(self._token)
        return self._token.words

    def used(self, batch: str) -> None:
        """The browser has announced this batch: its token is good for no other."""
        if self._token and self._token.batch == batch:
            self._token = None

    def look_at_models(self) -> None:
        """The models that may be asked; known ones stay known while the server is away."""
        if self.clock() - self._models_looked < MODELS_EVERY:
            return
        try:
            self.models = tuple(model for model in self.api.models() if model.ready)
            self._models_looked = self.clock()
        except ApiError:
            return

    def select(self, batch: str | None) -> None:
        """Another batch, and nothing said about the former any more."""
        if batch != self.selected:
            self.selected, self.words, self.needs = batch, "", None
            self.changes += 1

    def select_some(self) -> None:
        """Where nobody chose: the newest that has arrived, else the newest."""
        batches = self.listing.batches if self.listing else ()
        arrived = [batch for batch in batches if batch.state != "created"]
        if self.selected is None and batches:
            self.select((arrived or list(batches))[0].id)

    def predict(self, variant: VariantName) -> None:
        """Asks for a variant's predictions of the selected batch."""
        self._act(lambda batch: self.batches.predict(batch, variant), variant.model)

    def preprocess(self, model: str | None = None) -> None:
        """Asks for a job run, again or for another model."""
        self._act(lambda batch: self.batches.preprocess(batch, model))

    def delete(self) -> None:
        """Removes the selected batch."""
        self._act(self.batches.delete)
        if not self.words:
            self.select(None)

    def _act(self, ask: Callable[[str], object], model: str | None = None) -> None:
        self.words, self.needs = "", None
        try:
            ask(self.selected or "")
        except ApiError as error:
            self.words = error.message
            if isinstance(error, Refused) and error.code == "needs_preprocessing":
                self.needs = model
        self.changes += 1
        self.look(afresh=True)


def _trouble(error: ApiError) -> Trouble:
    if isinstance(error, Unreachable):
        return Trouble("away", error.message)
    if isinstance(error, Busy):
        kinds: dict[str, Literal["storage", "off"]] = {"storage_away": "storage", "batches_off": "off"}
        return Trouble(kinds.get(error.code, "starting"), error.message)
    return Trouble("other", error.message)


def _at_rest(listing: Listing) -> Listing:
    """Without what moves by itself many times within a state."""
    still = (
        replace(batch, progress=None, predictions=tuple(replace(run, done=0) for run in batch.predictions))
        for batch in listing.batches
    )
    return replace(listing, batches=tuple(still))
