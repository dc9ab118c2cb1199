from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.settings import Settings

DOCS = Path(__file__).parent.parent.parent / "docs" / "operations.md"


def test_every_setting_is_documented_with_its_default() -> None:
    text = DOCS.read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`NINEFOLD_{name.upper()}`" not in text]
    assert not missing


def test_settings_are_frozen_and_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NINEFOLD_MAX_IMAGE_MB", "3")
    settings = Settings()
    assert settings.image_limits.max_bytes == 3_000_000
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL", "PRECISION", "PORT"):
        monkeypatch.setenv(f"NINEFOLD_{name}", "")
    assert (Settings().model, Settings().precision, Settings().port) == (None, None, 8000)


def test_a_full_request_must_fit_into_the_queue() -> None:
    with pytest.raises(ValidationError, match="NINEFOLD_QUEUE_IMAGES"):
        Settings(max_images=37)
    assert Settings(max_images=37, queue_images=37).max_images == 37


def test_the_frames_of_all_live_connections_must_fit_into_the_queue() -> None:
    with pytest.raises(ValidationError, match="NINEFOLD_QUEUE_IMAGES"):
        Settings(live_sessions=37)
    assert Settings(live_sessions=37, queue_images=37).live_sessions == 37
    assert Settings(queue_images=9).live_sessions == 9 and Settings().live_sessions == 16
