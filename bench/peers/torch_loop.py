"""A zip to JSON lines by a plain loop over batches of 32, as everyone writes it.

python bench/peers/torch_loop.py FOLDER ZIP OUT
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import torch
from everyday import ResNet, tensor

BATCH = 32


def main(folder: Path, archive: Path, out: Path) -> None:
    """One process; torch takes the cores it wants."""
    resnet = ResNet(folder)
    with zipfile.ZipFile(archive) as opened, out.open("w", encoding="utf-8") as lines:
        names = opened.namelist()
        for first in range(0, len(names), BATCH):
            some = names[first : first + BATCH]
            answers = resnet.answers(torch.stack([tensor(opened.read(name)) for name in some]))
            for name, answer in zip(some, answers, strict=True):
                lines.write(json.dumps({"name": name, **answer}) + "\n")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
