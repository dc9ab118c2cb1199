"""Packs what the host on AWS is rolled with: the Compose files, scripts/roll.py with what it imports, infra/host/.

    python -m scripts.host_bundle FOLDER [--compose-plugin FILE]

Writes FOLDER/DIGEST.tar.gz and prints sha256:DIGEST: the host takes a bundle by its digest alone, as it takes images.
Amazon Linux has no package of Docker's Compose plugin, so the one that the tests ran with goes along.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ("docker-compose.yml", "docker-compose.production.yml")
ROLL = ("__init__", "alone", "containers", "env_file", "refusal", "roll")
HOST = "infra/host"
PLUGIN = "docker-compose"


def bundle(plugin: Path | None) -> bytes:
    """A tar.gz of everything, the same bytes for the same files. Raises FileNotFoundError."""
    names = [*COMPOSE, *(f"scripts/{name}.py" for name in ROLL)]
    names += sorted(f"{HOST}/{path.name}" for path in (ROOT / HOST).iterdir() if not path.name.endswith(".tftpl"))
    files = {name: (ROOT / name).read_bytes() for name in names}
    if plugin:
        files[PLUGIN] = plugin.read_bytes()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(data), 0o755 if name == PLUGIN else 0o644
            archive.addfile(about, io.BytesIO(data))
    return packed.getvalue()


def main() -> None:
    """Writes it, and prints its digest."""
    parser = argparse.ArgumentParser(prog="host_bundle", description="Pack what the host is rolled with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--compose-plugin", type=Path, help="Docker's Compose plugin, an executable")
    asked = parser.parse_args()
    data = bundle(asked.compose_plugin)
    digest = hashlib.sha256(data).hexdigest()
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / f"{digest}.tar.gz").write_bytes(data)
    print(f"sha256:{digest}")


if __name__ == "__main__":
    main()
