"""A small generated detection dataset, so that a demo or a test needs no download."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from pathlib import Path

_QUALITY = 90
_NOISE_PIXELS = 32
"""Side of the noise that is blown up to the background, so that JPEG has something to decode."""


def write_dataset(folder: Path, images: int = 64, size: int = 640, classes: int = 3, seed: int = 0) -> Path:
    """Write ``images`` labelled training images and a quarter as many for validation.

    Coloured shapes on a noisy background, one colour a class, ``size`` pixels square; the same seed
    writes the same files.

    Returns:
        Path of the YAML file that ``data=`` takes.
    """
    folder = folder.resolve()
    random_ = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for split, number in (("train", images), ("val", max(1, images // 4))):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            image, labels = _draw(size, classes, random_)
            image.save(folder / "images" / split / f"{index:05d}.jpg", quality=_QUALITY)
            (folder / "labels" / split / f"{index:05d}.txt").write_text("".join(labels), encoding="utf-8")
    names = "".join(f"  {index}: shape{index}\n" for index in range(classes))
    data = folder / "data.yaml"
    data.write_text(f"path: '{folder}'\ntrain: images/train\nval: images/val\nnames:\n{names}", encoding="utf-8")
    return data


def _draw(size: int, classes: int, random_: random.Random) -> tuple[Image.Image, list[str]]:
    """Draw one image and its label lines: class, then centre and size as shares of the image."""
    noise = Image.frombytes("RGB", (_NOISE_PIXELS, _NOISE_PIXELS), random_.randbytes(3 * _NOISE_PIXELS**2))
    image = noise.resize((size, size), Image.Resampling.BILINEAR)
    canvas = ImageDraw.Draw(image)
    labels = []
    for _ in range(random_.randint(1, 6)):
        kind = random_.randrange(classes)
        width, height = (random_.uniform(0.08, 0.4) for _ in range(2))
        left, top = random_.uniform(0, 1 - width), random_.uniform(0, 1 - height)
        box = [left * size, top * size, (left + width) * size, (top + height) * size]
        colour = f"hsl({360 * kind // classes}, 90%, {random_.randint(35, 65)}%)"
        (canvas.ellipse if kind % 2 else canvas.rectangle)(box, fill=colour, outline="white")
        labels.append(f"{kind} {left + width / 2:.6f} {top + height / 2:.6f} {width:.6f} {height:.6f}\n")
    return image, labels
