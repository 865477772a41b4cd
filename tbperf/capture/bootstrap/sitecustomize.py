"""Python runs this at start-up, because ``tbperf record`` puts this folder in front of PYTHONPATH.

It takes its folder from the path and itself from the modules, leaves a finder that waits, and lets Python find the
program's own sitecustomize.  The recorder proper, and what that needs of the standard library, is loaded with the first
library whose use it records: modules of the program that bear a standard name are found as ever.

Every Python that the command starts runs this, also one that is too old for the recorder: the syntax is that of all.
"""

import os
import sys

_HERE = os.path.dirname(__file__)
_INSIDE = "tbperf_inside"
_RECORDED = ("torch", "ultralytics", "torchvision", "cv2")
_OLDEST_PYTHON = (3, 8)
_FOLDER_FIRST = '{"folder": "'


def _step_aside():
    """Take away what the program would see of this; return what must live on for as long as it runs."""
    sys.path[:] = [entry for entry in sys.path if entry != _HERE]
    sys.path_importer_cache.pop(_HERE, None)
    return sys.modules.pop("sitecustomize", None)


def _attempt(step, *arguments):
    try:
        step(*arguments)
    except Exception as error:
        if sys.stderr is not None:  # print would take standard output instead
            _write_line("tbperf: not recording: %r" % (error,))


def _write_line(line):
    try:
        sys.stderr.write(line + "\n")
    except Exception:
        return  # the program may have closed it; that there is no recording is said again at its end


def _wait():
    settings = os.environ.get("TBPERF_CAPTURE")
    if not settings:
        return
    _tell_the_parent(_folder_of(settings))
    waiting = _Waiting(settings)
    sys.meta_path.insert(0, waiting)
    if any(name in sys.modules for name in _RECORDED):
        waiting.arm()


def _folder_of(settings):
    """Return the run folder, for which nothing is imported that a program alone does not have."""
    if not settings.startswith(_FOLDER_FIRST):
        import json

        return json.loads(settings)["folder"]
    import _codecs

    end = begin = len(_FOLDER_FIRST)
    while settings[end] != '"':
        end += 2 if settings[end] == "\\" else 1
    # JSON's escapes are Python's, but for characters in two halves.
    halves, _ = _codecs.unicode_escape_decode(settings[begin:end])
    joined, _ = _codecs.utf_16_le_decode(_codecs.utf_16_le_encode(halves, "surrogatepass")[0], "surrogatepass")
    return joined


def _tell_the_parent(folder):
    """Write the journal's first line, as journal.py writes the others."""
    import time

    name = "".join(c for c in os.path.basename(sys.executable or "") if c.isalnum() or c in "._-")
    line = '{"event": "started", "pid": %d, "unix_ns": %d, "executable": "%s"}\n'
    line %= (os.getpid(), time.time_ns(), name)
    path = os.path.join(folder, "journal", "%d.jsonl" % os.getpid())
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line.encode("utf-8"))
    finally:
        os.close(file)


class _Waiting(object):
    """Leads ``sys.meta_path`` until the first library is imported whose use is recorded."""

    def __init__(self, settings):
        self._settings = settings
        self._over = False

    def find_spec(self, name, path=None, target=None):
        if name == _INSIDE:
            return _spec_of_the_inside()
        if self._over or name not in _RECORDED:
            return None
        self.arm()
        leader = sys.meta_path[0]
        # Python goes on with the finders behind; the one that leads now must be asked, too.
        return leader.find_spec(name, path, target) if type(leader).__module__.startswith(_INSIDE) else None

    def arm(self):
        """Load the recorder, which takes this one's place."""
        self._over = True
        _attempt(self._arm)

    def _arm(self):
        import tbperf_inside

        sys.meta_path.remove(self)
        tbperf_inside.arm(self._settings)


def _spec_of_the_inside():
    from importlib.machinery import PathFinder

    try:
        return PathFinder.find_spec(_INSIDE, [_HERE])
    finally:
        sys.path_importer_cache.pop(_HERE, None)


_kept = _step_aside()
if sys.version_info >= _OLDEST_PYTHON:
    _attempt(_wait)

import sitecustomize  # noqa: E402, F401 - the program's own; where it has none or it fails, Python takes the error as ever
