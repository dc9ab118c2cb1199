"""The real download path against a file server of our own: the right file, a wrong one, a missing one, no server."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision

from inference.artefacts import ArtefactStore
from inference.catalogue import BY_NAME, CATALOGUE, Model
from inference.classifier import check_golden, golden_pixels
from inference.openvino_classifier import OpenVinoClassifier
from modelzoo import build as build_module
from modelzoo import weights as weights_module
from modelzoo.build import build
from modelzoo.default import build_default
from modelzoo.networks import _architecture
from modelzoo.weights import (
    WeightsMissing,
    WrongWeights,
    download,
    hash_in_name,
    obtain,
    published_address,
    torchvision_address,
)

RESNET = BY_NAME["resnet18"]
LITE = BY_NAME["efficientnet_lite0"]
XCEPTION = BY_NAME["xception"]
HUB_ONLY = "xception41.tf_in1k"
DOWNLOADED = [model for model in CATALOGUE if model.source.kind in ("torchvision", "timm")]


class FileServer:
    """Serves a folder on loopback and remembers what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.requests = folder, []
        requests = self.requests
        self.cut, self.head, outer = False, 200, self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if outer.cut:
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b"x" * 500)
                else:
                    super().do_GET()

            def do_HEAD(self) -> None:
                if outer.head == 200:
                    super().do_HEAD()
                else:
                    self.send_error(outer.head)

            def log_request(self, *_: object) -> None:
                requests.append(f"{self.command} {self.path}")

            def log_error(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, data: bytes) -> str:
        """Publishes `data` under a name that carries its hash; returns the address."""
        name = f"weights-{hashlib.sha256(data).hexdigest()[:8]}.pth"
        (self.folder / name).write_bytes(data)
        return f"{self.url}/{name}"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "served").mkdir()
    server = FileServer(tmp_path / "served")
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_the_right_file_arrives_with_a_progress_bar_and_is_fetched_once(
    files: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = files.put(b"weights" * 10_000)
    path = download(address, hash_in_name(address), tmp_path / "downloads")
    assert path.read_bytes() == b"weights" * 10_000
    assert "100%" in capfd.readouterr().err
    asked = len(files.requests)
    assert download(address, hash_in_name(address), tmp_path / "downloads") == path
    assert len(files.requests) == asked


def test_a_file_with_another_hash_is_refused_and_not_kept(files: FileServer, tmp_path: Path) -> None:
    address = files.put(b"right")
    (files.folder / address.rsplit("/", 1)[1]).write_bytes(b"wrong")
    with pytest.raises(WrongWeights, match="another sha256"):
        download(address, hash_in_name(address), tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


def test_a_download_that_broke_off_is_not_told_as_another_file(files: FileServer, tmp_path: Path) -> None:
    address = files.put(b"w" * 1000)
    files.cut = True
    with pytest.raises(WeightsMissing, match=r"broke off \(500 of 1,000 bytes"):
        download(address, hash_in_name(address), tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_that_answers_get_alone_is_asked_so(files: FileServer, tmp_path: Path, status: int) -> None:
    address, files.head = files.put(b"right"), status
    assert download(address, hash_in_name(address), tmp_path / "downloads").read_bytes() == b"right"


def test_a_damaged_download_of_before_is_fetched_again(files: FileServer, tmp_path: Path) -> None:
    address = files.put(b"right")
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / address.rsplit("/", 1)[1]).write_bytes(b"half")
    assert download(address, hash_in_name(address), tmp_path / "downloads").read_bytes() == b"right"


def test_a_missing_file_and_a_missing_server_say_so(files: FileServer, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="answered 404"):
        download(f"{files.url}/gone-01234567.pth", "01234567", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    with pytest.raises(WeightsMissing, match="cannot be reached"):
        download(f"http://127.0.0.1:{closed}/x-01234567.pth", "01234567", tmp_path)


def test_a_server_that_does_not_answer_costs_no_more_than_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(WeightsMissing, match="no answer within"):
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/x-01234567.pth", "01234567", tmp_path)


def test_the_address_and_its_hash_are_torchvisions_own() -> None:
    address = torchvision_address(RESNET)
    assert address == torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    assert len(hash_in_name(address)) == 8
    with pytest.raises(WrongWeights, match="no hash"):
        hash_in_name("https://example.org/resnet18.pth")


@pytest.mark.parametrize("model", DOWNLOADED, ids=lambda model: model.name)
def test_a_mirror_takes_the_place_of_the_address_and_is_not_trusted(
    model: Model, files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NINEFOLD_WEIGHTS_MIRROR", f"{files.url}/torch/")
    with pytest.raises(WeightsMissing, match="answered 404"):
        obtain(model, None, tmp_path / "downloads")
    name = published_address(model).rsplit("/", 1)[1]
    assert files.requests == [f"HEAD /torch/{name}"]
    (files.folder / "torch").mkdir()
    (files.folder / "torch" / name).write_bytes(b"something else under the right name")
    with pytest.raises(WrongWeights, match=f"another sha256 than {hash_in_name(name)}"):
        obtain(model, None, tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


@pytest.mark.parametrize("mirror", ["nonsense", "http://127.0.0.1:12x", "http://[::"])
def test_a_mirror_that_is_no_address_is_said_to_be_none(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NINEFOLD_WEIGHTS_MIRROR", mirror)
    with pytest.raises(WeightsMissing, match="NINEFOLD_WEIGHTS_MIRROR"):
        obtain(RESNET, None, tmp_path)


@pytest.mark.parametrize("model", [RESNET, XCEPTION], ids=["torchvision", "timm"])
def test_the_right_file_of_either_source_is_loaded_into_its_architecture(
    model: Model, files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {name: tensor + 1 for name, tensor in _architecture(model.architecture).state_dict().items()}
    torch.save(changed, tmp_path / "w.pth")
    address = files.put((tmp_path / "w.pth").read_bytes())
    monkeypatch.setattr(weights_module, f"{model.source.kind}_address", lambda _: address)
    weights = obtain(model, None, tmp_path / "downloads")
    assert weights.place == address and weights.sha256.startswith(hash_in_name(address))
    loaded = build_module.build_network(model, weights).network.state_dict()
    assert loaded.keys() == changed.keys() and all(torch.equal(loaded[name], changed[name]) for name in changed)


def test_weights_that_timm_knows_no_address_of_are_missing(tmp_path: Path) -> None:
    for name in ("no_such_architecture.tf_in1k", HUB_ONLY):
        other = replace(XCEPTION, source=replace(XCEPTION.source, weights=name))
        with pytest.raises(WeightsMissing, match=f"no address of {name}"):
            obtain(other, None, tmp_path)


def test_a_local_file_must_be_the_very_one(tmp_path: Path) -> None:
    other = tmp_path / "resnet18.pth"
    other.write_bytes(b"something else")
    with pytest.raises(WrongWeights, match="the right file's begins with"):
        obtain(RESNET, other, tmp_path)
    with pytest.raises(WeightsMissing, match="there is no file"):
        obtain(RESNET, tmp_path / "none.pth", tmp_path)


def test_the_packages_file_is_checked_too() -> None:
    assert obtain(LITE, None, Path("unused")).sha256 == LITE.source.sha256
    other = replace(LITE, source=replace(LITE.source, sha256="0" * 64))
    with pytest.raises(WrongWeights):
        obtain(other, None, Path("unused"))
    absent = replace(LITE, source=replace(LITE.source, weights="no_such_package/x.pth"))
    with pytest.raises(WeightsMissing, match="no_such_package"):
        obtain(absent, None, Path("unused"))


def test_resnet18_is_built_from_a_downloaded_file_as_it_would_be_from_torchvisions(
    files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole path from an address to an artefact, with random weights in the place of the real ones."""
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    address = files.put((tmp_path / "w.pth").read_bytes())
    monkeypatch.setattr(weights_module, "torchvision_address", lambda _: address)
    artefact = build(RESNET, ArtefactStore(tmp_path / "models"))
    assert artefact.card.origin.place == address
    assert artefact.card.origin.sha256.startswith(hash_in_name(address))
    assert artefact.card.agreement.max_logit_difference < 1e-3
    check_golden(artefact, OpenVinoClassifier(artefact)(golden_pixels(artefact)))


def test_without_the_default_the_fallback_is_built_and_the_reason_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: ArtefactStore
) -> None:
    said: list[str] = []
    target = ArtefactStore(tmp_path)

    def unreachable(*_: object) -> None:
        raise WeightsMissing("the network is down")

    def copy(model, into, local, say, device):
        if model is RESNET:
            unreachable()
        target.publish(_variant(model), lambda folder: _copy_card(store, model, folder))

    monkeypatch.setattr("modelzoo.default.build", copy)
    assert build_default(target, said.append) is LITE
    assert target.why_missing("resnet18") == "the network is down"
    assert any("the network is down" in line for line in said)


def test_weights_that_were_named_are_never_replaced_by_the_fallback(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"wrong")
    with pytest.raises(WrongWeights):
        build_default(ArtefactStore(tmp_path / "models"), lambda _: None, wrong)
    assert not list((tmp_path).glob("models/efficientnet_lite0/*"))


def test_every_catalogue_entry_can_say_where_its_weights_come_from() -> None:
    for model in CATALOGUE:
        if model in DOWNLOADED:
            assert hash_in_name(published_address(model))
        assert model.source.kind == "seeded" or model.source.licence not in ("", "none")
    assert len({model.name for model in CATALOGUE}) == len(CATALOGUE)


def test_the_build_does_not_disturb_the_callers_random_numbers() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    seeded = BY_NAME["resnet18-seeded"]
    first = build_module.build_network(seeded, None)
    assert torch.equal(torch.rand(3), expected)
    second = build_module.build_network(seeded, None)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def _variant(model):
    from inference.artefacts import Variant

    return Variant(model.name, "fp32")


def _copy_card(store: ArtefactStore, model, folder: Path) -> None:
    artefact = store.get(_variant(model))
    assert artefact is not None
    artefact.card.write(folder)
