"""The layers of the house, enforced: which part may import which, and who may touch torch and the terminal."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "tbperf"

# A part may always import itself and the package's version.
ALLOWED = {
    "errors": set(),
    "intervals": set(),
    "printable": set(),
    "outputs": {"errors"},
    "trace": {"intervals"},
    "readers": {"trace", "errors", "intervals"},
    "analyses": {"trace", "intervals"},
    "findings": {"analyses"},
    "report": {"readers", "trace", "analyses", "findings", "errors"},
    "comparison": {"report", "analyses", "findings", "trace", "errors"},
    "gates": {"comparison", "report", "analyses", "findings", "trace", "errors"},
    "history": {"comparison", "report", "analyses", "findings", "errors"},
    "render": {"report", "comparison", "history", "analyses", "findings", "trace", "intervals", "printable", "errors"},
    "capture": {"errors"},
    "tensorboard": {"trace", "intervals", "analyses", "findings", "report", "readers", "render", "errors"},
    "scrub": {"readers", "trace", "analyses", "errors"},
    "cli": {
        "report",
        "render",
        "capture",
        "scrub",
        "tensorboard",
        "comparison",
        "gates",
        "history",
        "outputs",
        "printable",
        "errors",
    },
    "__init__": {"report", "comparison", "capture"},
    "__main__": {"cli"},
}

# Libraries that only some parts may use.
ONLY = {
    "torch": {"capture"},
    "ultralytics": {"capture"},
    "nvtx": {"capture"},
    "pynvml": {"capture"},
    "psutil": {"capture"},
    "cv2": {"capture"},
    "click": {"cli"},
    "rich": {"cli", "render"},
    "msgspec": {"readers", "render", "capture", "comparison", "scrub"},
    "isal": {"readers", "capture"},
    "backports": {"readers"},
    "bz2": {"readers", "scrub"},
    "lzma": {"readers", "scrub"},
    "zipfile": {"readers"},
    "gzip": {"readers", "capture", "scrub", "tensorboard"},
    "json": {"readers", "capture", "render", "scrub", "tensorboard"},
    "google": {"tensorboard"},
    "tensorboard": {"tensorboard"},
    "werkzeug": {"tensorboard"},
    "pandas": {"trace", "analyses", "report"},
    "pyarrow": {"readers"},
    "sqlite3": {"readers", "capture", "scrub"},
}

FILES = sorted(ROOT.rglob("*.py"))


def part_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """Yield every module that a file imports anywhere, as its dotted parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_layers(path):
    part = part_of(path)
    used = {name[1] for name in imports(path) if name[0] == "tbperf" and len(name) > 1}

    assert used - {part} <= ALLOWED[part]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_libraries_stay_in_their_parts(path):
    part = part_of(path)

    assert not {name[0] for name in imports(path) if part not in ONLY.get(name[0], {part})}


def test_every_part_is_listed():
    assert {part_of(path) for path in FILES} == set(ALLOWED)


def test_the_analyzer_starts_without_torch_and_pandas():
    """Half a second of imports is half a second of every command."""
    import subprocess

    code = "import sys, tbperf.report, tbperf.render, tbperf.cli.analyze; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"torch", "pandas", "ultralytics", "nvtx"} & set(done.stdout.split())
