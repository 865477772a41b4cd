"""A small generated dataset for each task of YOLO, so that a demo or a test needs no download."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from pathlib import Path

_QUALITY = 90
_NOISE_PIXELS = 32
"""Side of the noise that is blown up to the background, so that JPEG has something to decode."""


TASKS = ("detect", "segment", "classify", "pose", "obb")


def write_dataset(  # noqa: PLR0913 - each says one thing, and most are left alone
    folder: Path, images: int = 64, size: int = 640, *, classes: int = 3, seed: int = 0, task: str = "detect"
) -> Path:
    """Write ``images`` labelled training images and a quarter as many for validation.

    Coloured shapes on a noisy background, one colour a class, ``size`` pixels square; the same seed
    writes the same files.

    Returns:
        What ``data=`` takes: the path of a YAML file, or the folder of a classification.
    """
    folder = folder.resolve()
    random_ = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for split, number in (("train", images), ("val", max(1, images // 4))):
        for index in range(number):
            image, shapes = _draw(size, classes, random_)
            name = f"{index:05d}"
            if task == "classify":
                _write(folder / split / f"shape{shapes[0][0]}" / f"{name}.jpg", image)
                continue
            _write(folder / "images" / split / f"{name}.jpg", image)
            labels = folder / "labels" / split / f"{name}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("".join(_label(task, shape) for shape in shapes), encoding="utf-8")
    if task == "classify":
        return folder
    names = "".join(f"  {index}: shape{index}\n" for index in range(classes))
    points = "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n" if task == "pose" else ""
    data = folder / "data.yaml"
    data.write_text(
        f"path: '{folder}'\ntrain: images/train\nval: images/val\n{points}names:\n{names}", encoding="utf-8"
    )
    return data


def _write(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=_QUALITY)


_Shape = tuple[int, float, float, float, float]
"""Class, then left, top, width and height as shares of the image."""


def _label(task: str, shape: _Shape) -> str:
    """Return the line of a label file."""
    kind, left, top, width, height = shape
    right, bottom, middle = left + width, top + height, top + height / 2
    box = (left + width / 2, middle, width, height)
    numbers = {
        "detect": box,
        "pose": (*box, left + width / 4, middle, 2, left + 3 * width / 4, middle, 2),
    }.get(task, (left, top, right, top, right, bottom, left, bottom))
    return f"{kind} " + " ".join(f"{number:.6f}" for number in numbers) + "\n"


def _draw(size: int, classes: int, random_: random.Random) -> tuple[Image.Image, list[_Shape]]:
    """Draw one image; return it with its shapes."""
    noise = Image.frombytes("RGB", (_NOISE_PIXELS, _NOISE_PIXELS), random_.randbytes(3 * _NOISE_PIXELS**2))
    image = noise.resize((size, size), Image.Resampling.BILINEAR)
    canvas = ImageDraw.Draw(image)
    shapes = []
    for _ in range(random_.randint(1, 6)):
        kind = random_.randrange(classes)
        width, height = (random_.uniform(0.08, 0.4) for _ in range(2))
        left, top = random_.uniform(0, 1 - width), random_.uniform(0, 1 - height)
        box = [left * size, top * size, (left + width) * size, (top + height) * size]
        colour = f"hsl({360 * kind // classes}, 90%, {random_.randint(35, 65)}%)"
        (canvas.ellipse if kind % 2 else canvas.rectangle)(box, fill=colour, outline="white")
        shapes.append((kind, left, top, width, height))
    return image, shapes
