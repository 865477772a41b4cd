"""Trains, validates and predicts in one forked child for each fault, and tells as JSON lines what became of it.

    python run_with_faults.py FOLDER DATA [SHARE]      SHARE "2/5": every fifth fault, beginning with the second

With tbperf inside, the faults are: each hook's enter and leave, each method of each class of the recorder, and files
that cannot be written. Without it, there is one child: what all others must equal.
"""

import contextlib
import functools
import hashlib
import importlib
import inspect
import json
import os
import shutil
import sys
from pathlib import Path

import torch
import torch._inductor  # Ultralytics imports it in the middle of a run: once is enough
from ultralytics import YOLO

CLASSES = (
    "captures",
    "fetches",
    "journal",
    "modules",
    "profilers",
    "ranges",
    "recorder",
    "schedule",
    "stages",
    "steps",
    "windows",
)
EXCEPT = {
    "Recorder._stop",  # the failure's own end
    "Recorder.forget_the_parent",
    "Recorder._begin",
}


def work(place, data):
    """Return digests of the weights and of the predictions."""
    os.chdir(place)
    settings = {"imgsz": 32, "batch": 4, "device": "cpu", "plots": False, "verbose": False, "project": str(place)}
    model = YOLO("tiny.yaml")
    model.train(data=data, epochs=1, name="train", workers=0, seed=1, amp=False, **settings)
    trained = torch.load(place / "train" / "weights" / "last.pt", map_location="cpu", weights_only=False)
    weights = (trained["ema"] or trained["model"]).state_dict()
    del settings["project"]
    results = model.predict(str(Path(data).parent / "images" / "val"), stream=True, conf=0.0, **settings)
    boxes = [result.boxes.data.numpy().tobytes() for result in results]
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    files = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    assert b"tbperf" not in (place / "train" / "weights" / "best.pt").read_bytes()
    return {"weights": digest.hexdigest(), "boxes": hashlib.sha256(b"".join(boxes)).hexdigest(), "files": files}


def in_a_child(folder, data, name, prepare, report):
    """Fork; the child does the work with a fault planted, and ends as a program ends."""
    place = folder / str(name)
    place.mkdir()
    shutil.copy(folder / "tiny.yaml", place)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        told = json.loads((place.parent / f"{name}.json").read_text()) if status == 0 else {}
        said = (place.parent / f"{name}.err").read_text()
        shutil.rmtree(place)
        report({"status": status, "said": said.count("tbperf: recording stopped"), **told})
        return
    for number, suffix in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{place}.{suffix}", os.O_WRONLY | os.O_CREAT), number)
    reached = prepare()
    done = work(place, data)
    if reached is not None:
        done["calls"] = reached
    (place.parent / f"{name}.json").write_text(json.dumps(done))
    raise SystemExit  # through all that runs at a program's end


def methods():
    """Yield every method of the recorder's classes."""
    for name in CLASSES:
        module = importlib.import_module("tbperf_inside." + name)
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                for method, function in vars(kind).items():
                    key = f"{kind.__name__}.{method}"
                    if inspect.isfunction(function) and not method.startswith("__") and key not in EXCEPT:
                        yield key, kind, method, function


def count_methods(plant):
    for key, kind, method, function in methods():

        def counted(*args, _key=key, _function=function, **kwargs):
            plant.count("method " + _key)
            return _function(*args, **kwargs)

        setattr(kind, method, functools.wraps(function)(counted))


def start_afresh(plant, key=None, call=0):
    plant.CALLS.clear()
    plant.PLANTED[:] = [key, call]
    for recorder in plant.RECORDERS:
        recorder.forget_the_parent()
    return plant.CALLS


def cannot_write(plant, spoil):
    start_afresh(plant)
    spoil(Path(json.loads(os.environ["TBPERF_CAPTURE"])["folder"]))


def full(path):
    return lambda folder: (folder / path.format(pid=os.getpid())).symlink_to("/dev/full")


def without_folder(folder):
    shutil.rmtree(folder)


def with_a_folder_instead_of_a_file(folder):
    shutil.rmtree(folder / "trace")
    (folder / "trace").write_text("")


FILES = {
    "full disk: steps": full("steps.{pid}.jsonl"),
    "full disk: loader": full("loader.{pid}.bin"),
    "full disk: journal": full("journal/{pid}.jsonl"),
    "full disk: window flag": full("journal/window.{pid}"),
    "no folder for traces": with_a_folder_instead_of_a_file,
    "the folder vanished": without_folder,
}


def main():
    folder, data = Path(sys.argv[1]).resolve(), sys.argv[2]
    first, every = map(int, (sys.argv[3] if len(sys.argv) > 3 else "1/1").split("/"))
    out = (folder / "results.jsonl").open("a")

    def report(row):
        out.write(json.dumps(row) + "\n")
        out.flush()

    if "TBPERF_CAPTURE" not in os.environ:
        in_a_child(folder, data, 0, lambda: None, lambda row: report({"fault": "none", **row}))
        return
    import sitecustomize as ours

    plant = sys.modules[ours.__name__]
    count_methods(plant)
    seen = {}
    in_a_child(folder, data, 0, lambda: start_afresh(plant), seen.update)
    report({"fault": "none", **{name: value for name, value in seen.items() if name != "calls"}})
    faults = [
        (f"{key} at call {call}", functools.partial(start_afresh, plant, key, call))
        for index, (key, calls) in enumerate(sorted(seen["calls"].items()))
        for call in [min(calls, 1 + index % 3)]
    ]
    faults += [(name, functools.partial(cannot_write, plant, spoil)) for name, spoil in FILES.items()]
    kept = Path(json.loads(os.environ["TBPERF_CAPTURE"])["folder"])
    for number, (name, prepare) in enumerate(faults, 1):
        if number % every == first % every:
            shutil.rmtree(kept, ignore_errors=True)
            for needed in ("journal", "trace"):
                (kept / needed).mkdir(parents=True)

            def planted(prepare=prepare):
                prepare()

            in_a_child(folder, data, number, planted, lambda row, name=name: report({"fault": name, **row}))


with contextlib.suppress(BrokenPipeError):
    main()
