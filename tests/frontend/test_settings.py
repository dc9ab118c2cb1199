from __future__ import annotations

from frontend.settings import Settings


def test_defaults() -> None:
    assert Settings.read({}) == Settings("http://127.0.0.1:8000", "http://127.0.0.1:8000", 25)
    assert Settings.read({"NINEFOLD_API_URL": "", "NINEFOLD_MAX_IMAGE_MB": ""}) == Settings()


def test_from_the_environment() -> None:
    read = Settings.read({"NINEFOLD_API_URL": "http://backend:8000/", "NINEFOLD_MAX_IMAGE_MB": "1.5"})
    assert (read.api_url, read.max_image_bytes) == ("http://backend:8000", 1_500_000)


def test_the_browser_finds_the_server_where_the_page_does_unless_told_otherwise() -> None:
    assert Settings.read({"NINEFOLD_API_URL": "http://backend:8000/"}).public_api_url == "http://backend:8000"
    told = {"NINEFOLD_API_URL": "http://backend:8000", "NINEFOLD_PUBLIC_API_URL": "https://ninefold.example/"}
    assert Settings.read(told).public_api_url == "https://ninefold.example"
