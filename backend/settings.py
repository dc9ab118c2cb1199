"""Every setting of the server, read from the environment in this one place and passed down from here."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.live.limits import LONGEST_SIDE, LiveLimits
from contract.keys import BadKeys, read_keys
from contract.transform import ImageLimits
from inference import engines
from inference.artefacts import ArtefactStore
from inference.choice import ModelMissing, ModelUnknown
from inference.detectors import resolve_detector
from inference.devices import cpu_count, is_cuda


class Settings(BaseSettings):
    """Frozen; each field is read from NINEFOLD_ + its name in capitals. docs/operations.md lists them."""

    model_config = SettingsConfigDict(
        env_prefix="NINEFOLD_", frozen=True, env_ignore_empty=True, extra="ignore", protected_namespaces=()
    )

    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the server listens on")
    hosts: str = Field(
        "", description="names the server may be asked by, besides this machine's own, separated by commas; *: all"
    )
    models_dir: Path = Field(Path("models"), description="folder of the artefacts")
    model: str | None = Field(None, description="the model that must answer; without it: the default, or its fallback")
    precision: str | None = Field(None, description="the precision that answers by default")
    detector: str | None = Field(None, description="what finds the things on a frame; without it: what is there")
    device: str = Field(
        "CPU", description="what computes: CPU, another device of OpenVINO's (GPU, NPU, …), CUDA, CUDA:1"
    )
    gpu_decode: bool = Field(False, description="whether CUDA decodes JPEGs, too; the pixels then differ a little")
    threads: int = Field(
        default_factory=lambda so_far: engines.lanes(so_far["device"]),
        ge=1,
        description="inferences at once (default: the processors; beside an accelerator twice as many, on CUDA 2)",
    )
    decode_threads: int = Field(
        default_factory=cpu_count,
        ge=1,
        description="images decoded at once for a device that takes batches; on a CPU every inference decodes its own",
    )
    decode_megapixels: int = Field(64, ge=1, description="megapixels that may be in decoding at once")
    queue_images: int = Field(36, ge=9, description="images that may wait at each priority; beyond it: 429")
    model_memory_mb: int = Field(2000, ge=1, description="memory for loaded models; the least recently used goes first")
    max_uploads: int = Field(
        128, ge=1, description="requests whose pictures may be on their way at once; beyond it: 429"
    )
    stall_seconds: float = Field(30, gt=0, description="how long a request may send nothing before it is given up")
    max_images: int = Field(9, ge=1, description="images a request may carry")
    max_image_mb: float = Field(25, gt=0, description="size of one image, in MB")
    max_image_megapixels: float = Field(50, gt=0, description="width × height of one image, in megapixels")
    max_body_mb: float = Field(230, gt=0, description="size of one request, in MB")
    max_infer_images: int = Field(64, ge=1, description="images a request to /v2 may carry")
    body_memory_mb: float = Field(
        300, gt=0, description="bodies (JSON, /v2) that may lie in memory at once, in MB; beyond it: 429"
    )
    fetch_urls: bool = Field(False, description="whether pictures may be named by an address that the server fetches")
    fetch_ports: str = Field("80,443", description="ports that are fetched from, separated by commas")
    fetch_seconds: float = Field(10, gt=0, description="how long fetching one picture may take, redirects included")
    fetch_at_once: int = Field(16, ge=1, description="pictures fetched at once; the others wait, within that time")
    shutdown_seconds: int = Field(30, ge=1, description="time to finish what was accepted when the server is stopped")
    drain_seconds: float = Field(
        0, ge=0, description="how long the server goes on answering, unready, once it is told to stop"
    )
    bucket: str | None = Field(None, description="the bucket that batches lie in; without it, batches are off")
    s3_endpoint: str | None = Field(None, description="address of S3, and of Glue; without it: AWS's own")
    glue_endpoint: str | None = Field(None, description="address of Glue, where it is not that of S3")
    s3_public_endpoint: str | None = Field(
        None, description="address of S3 as a browser sees it, which uploads are signed for (default: S3_ENDPOINT)"
    )
    glue_job: str = Field("ninefold-preprocess", description="name of the Glue job that preprocesses")
    max_zip_mb: float = Field(500, gt=0, le=5_000, description="size of one zip, in MB")
    page_origins: str = Field("", description="origins of pages whose scripts may call the API, separated by commas")
    evaluation: Path | None = Field(
        None, description="file of the last evaluation (default: evaluation.json in the models' folder)"
    )
    live_sessions: int = Field(
        default_factory=lambda so_far: min(16, so_far["queue_images"]),
        ge=0,
        description="live connections at once; beyond it: 429 (default: 16, or QUEUE_IMAGES where that is less)",
    )
    live_frame_mb: float = Field(2, gt=0, le=25, description="size of one frame of a live connection, in MB")
    live_megapixels: float = Field(
        9, gt=0, description="width × height of one frame of a live connection, in megapixels"
    )
    live_fps: float = Field(30, gt=0, le=1000, description="frames a second that a live connection is answered")
    live_write_seconds: float = Field(5, gt=0, description="how long a live connection may leave an answer unread")
    drift_reference: Path | None = Field(None, description="file of what answers are compared with; made if missing")
    revision: str = Field("unknown", description="the commit that the program was built from, for the metrics")
    keys_file: Path | None = Field(None, description="file of the keys that requests need; without it, they need none")
    log_format: Literal["json", "console"] = Field("json", description="one JSON object a line, or text for people")

    @field_validator("device")
    @classmethod
    def _is_there(cls, device: str) -> str:
        device = device.strip().upper()
        if why := engines.why_not(device):
            raise ValueError(why)
        return device

    @field_validator("gpu_decode")
    @classmethod
    def _can_decode(cls, wanted: bool, so_far: ValidationInfo) -> bool:
        if wanted and not is_cuda(device := so_far.data.get("device", "CPU")):
            raise ValueError(f"only CUDA decodes, and NINEFOLD_DEVICE is {device}")
        if wanted and find_spec("torchvision") is None:
            raise ValueError("it needs torchvision, which is not installed")
        return wanted

    @field_validator("detector")
    @classmethod
    def _is_known(cls, name: str | None, so_far: ValidationInfo) -> str | None:
        with suppress(ModelMissing):  # the server says so to who asks for it
            try:
                resolve_detector(ArtefactStore(so_far.data["models_dir"]), name)
            except ModelUnknown as unknown:
                raise ValueError(str(unknown)) from unknown
        return name

    @field_validator("max_images")
    @classmethod
    def _fits_the_queue(cls, images: int, so_far: ValidationInfo) -> int:
        if images > so_far.data.get("queue_images", images):
            raise ValueError("a full request would never fit: it must not be above NINEFOLD_QUEUE_IMAGES")
        return images

    @field_validator("live_sessions")
    @classmethod
    def _frames_fit_the_queue(cls, sessions: int, so_far: ValidationInfo) -> int:
        if sessions > so_far.data.get("queue_images", sessions):
            raise ValueError("each has a frame at work: it must not be above NINEFOLD_QUEUE_IMAGES")
        return sessions

    @field_validator("fetch_ports")
    @classmethod
    def _are_ports(cls, ports: str) -> str:
        if not all(port.strip().isdecimal() and 0 < int(port) < 65536 for port in ports.split(",")):
            raise ValueError("it must be ports, separated by commas")
        return ports

    @field_validator("keys_file")
    @classmethod
    def _can_be_read(cls, path: Path | None) -> Path | None:
        if path:
            try:
                read_keys(path)
            except BadKeys as bad:
                raise ValueError(str(bad)) from bad
        return path

    @property
    def image_limits(self) -> ImageLimits:
        """What an image may be, for `contract.transform`."""
        return ImageLimits(int(self.max_image_mb * 1e6), int(self.max_image_megapixels * 1e6))

    @property
    def live_image_limits(self) -> ImageLimits:
        """What a live connection's frame may be."""
        return ImageLimits(self.live_limits.frame_bytes, int(self.live_megapixels * 1e6), LONGEST_SIDE)

    @property
    def ports_to_fetch_from(self) -> frozenset[int]:
        """Of http and https."""
        return frozenset(int(port) for port in self.fetch_ports.split(","))

    @property
    def body_memory_bytes(self) -> int:
        """For bodies that lie in memory: one of the largest always fits."""
        return int(max(self.body_memory_mb, self.max_body_mb) * 1e6)

    @property
    def origins(self) -> list[str]:
        """The page's origins, for CORS."""
        return _listed(self.page_origins)

    @property
    def host_names(self) -> list[str]:
        """What the server may be called, besides what is known."""
        return _listed(self.hosts)

    @property
    def live_limits(self) -> LiveLimits:
        """Of one live connection."""
        return LiveLimits(int(self.live_frame_mb * 1e6), self.live_fps, self.stall_seconds, self.live_write_seconds)

    @property
    def max_zip_bytes(self) -> int:
        """The largest zip, in bytes."""
        return int(self.max_zip_mb * 1e6)

    @property
    def max_body_bytes(self) -> int:
        """The largest request, in bytes."""
        return int(self.max_body_mb * 1e6)


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]
