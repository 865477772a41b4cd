"""The generated dataset."""

from PIL import Image

from tbperf.capture.dataset import write_dataset


def test_the_dataset_has_images_labels_and_a_description(tmp_path):
    data = write_dataset(tmp_path / "d", images=8, size=64, classes=2, seed=1)
    assert [len(list((tmp_path / "d" / "images" / split).iterdir())) for split in ("train", "val")] == [8, 2]
    with Image.open(tmp_path / "d" / "images" / "train" / "00000.jpg") as image:
        assert image.size == (64, 64)
    for label in (tmp_path / "d" / "labels").rglob("*.txt"):
        for line in label.read_text().splitlines():
            kind, *box = line.split()
            x, y, width, height = map(float, box)
            assert kind in {"0", "1"}
            assert 0 <= x - width / 2 <= x + width / 2 <= 1 + 1e-6
            assert 0 <= y - height / 2 <= y + height / 2 <= 1 + 1e-6
    assert "  1: shape1" in data.read_text()


def test_the_same_seed_writes_the_same_files(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_dataset(tmp_path / name, images=2, size=32, seed=seed)
    first, same, other = ((tmp_path / name / "images/train/00001.jpg").read_bytes() for name in "abc")
    assert first == same != other
