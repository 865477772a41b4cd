"""The real TensorBoard, with the real plugins, in a process of its own on a free loopback port."""

import contextlib
import gzip
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest


class Served:
    """A TensorBoard that answers."""

    def __init__(self, address):
        self.address = address

    def get(self, path, **parameters):
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.address}{path}{query}", timeout=120) as answer:  # noqa: S310 - our own server
            content = answer.read()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content  # XProf always packs

    def json(self, path, **parameters):
        return json.loads(self.get(path, **parameters))

    def tool(self, run, tool, host="ALL_HOSTS"):
        """Ask a tool of the Profile tab; not its cache, which gives the first host's answer for every other one."""
        asked = {"run": run, "tag": tool, "host": host, "tqx": "out:json", "use_saved_result": "false"}
        return self.json("data/plugin/profile/data", **asked)

    def kernels(self, run, host="ALL_HOSTS"):
        """Return the rows of the Profile tab's kernel statistics."""
        table = self.tool(run, "kernel_stats", host)
        names = [column["id"] for column in table["cols"]]
        return [dict(zip(names, [cell["v"] for cell in row["c"]], strict=True)) for row in table["rows"]]

    def eventually(self, path, accepts, seconds=120, **parameters):
        """Ask until the answer is accepted: plugins load in the background."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(urllib.error.HTTPError, json.JSONDecodeError):
                answer = self.json(path, **parameters)
                if accepts(answer):
                    return answer
            assert time.monotonic() < until, f"{path} {parameters}"
            time.sleep(0.25)


@contextlib.contextmanager
def tensorboard(folder, *arguments):
    """Serve a log folder."""
    pytest.importorskip("tensorboard", reason="no TensorBoard (pip install 'tbperf[tensorboard]')")
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tensorboard.main",
            "--logdir",
            folder,
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            *arguments,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = []
        for line in child.stderr:
            said.append(line)
            found = re.search(r" at (http://\S+)", line)
            if found:
                break
        else:
            pytest.fail("TensorBoard did not start:\n" + "".join(said))
        # A full pipe would stop it.
        threading.Thread(target=lambda: [None for _ in child.stderr], daemon=True).start()
        yield Served(found[1])
    finally:
        child.terminate()
        child.wait(30)
        child.stderr.close()
