"""Names that may stay in a recording, and pseudonyms for all others.

What a name is made of decides.  Code (kernels, operators, calls, modules, functions) is taken word by word: a word that
`words.txt` lists stays, any other is replaced.  Everything else (ranges, threads, processes, files) stays only where
it has one of the shapes below, and is replaced as a whole where it has none.

A pseudonym (`anon7`) is a number in the order of appearance: the same text has the same one everywhere in a copy, and
nothing of the text is in it.  A replaced name means to the analyses what it meant before (`tbperf.analyses.meaning`):
where a word that they look for is lost with the rest, the pseudonym gets such a word beside it.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from tbperf.analyses import meaning
from tbperf.trace.stages import LOADER_PREFIX, MODULE_PREFIX, PREFIX, STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from tbperf.scrub.removed import Removed

LONGEST_NAME = 1 << 16
"""Names are cut here, as readers do it."""

_SEEN = 1 << 16
"""So many names are remembered with what became of them."""

_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""The words and numbers that a token is made of: `vectorizedLoad4` has three."""

_MOST_DIGITS, _MOST_LETTERS = 5, 2
"""Of a number in a name, and single letters in a token: `s16816gemm` has one, a serial number has many."""

_MACHINE = re.compile(r"(?:host|node|gpu|rank|worker|machine|cluster|job|task|run|exp)[0-9]+", re.IGNORECASE)
"""Words and numbers that are listed each by itself, and together name a machine."""


@functools.cache
def _words() -> frozenset[str]:
    lines = (resources.files(__package__) / "words.txt").read_text(encoding="ascii").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@functools.lru_cache(_SEEN)
def is_listed(token: str) -> bool:
    """Tell whether a token consists of listed words and short numbers."""
    if token.lower() in _words():
        return True
    parts = _HUMP.findall(token)
    letters = sum(len(part) == 1 and part.isalpha() and part != "x" for part in parts)
    return (
        sum(map(len, parts)) == len(token)
        and letters <= _MOST_LETTERS
        and all(len(part) <= _MOST_DIGITS if part.isdigit() else part.lower() in _words() for part in parts)
        and not _MACHINE.fullmatch(token)
    )


_TOKEN = re.compile(r"[^\x00-/:-@\[-`{-\x7f]+")
"""What stands between punctuation marks; everything beyond ASCII counts as letters."""

_CODE = re.compile(r"(?:[^\x00-\x08\x0b-\x1f\x7f$'\"/;?@\\`-]|(?<![^\s(<,)])-(?=\d)|->)*")
"""The punctuation of code: what holds a path, an address or a quotation is none."""

_SENTENCE = re.compile(r"[^<>(){}\[\]:*&]*\s[^<>(){}\[\]:*&]*")
"""Words without any punctuation of code between them: somebody wrote them for people."""

_DOTTED = re.compile(r"[0-9]\.[0-9]+\.[0-9]")
"""Addresses of machines, and dates."""


class Names:
    """Decides over all names of one copy."""

    def __init__(self, removed: Removed) -> None:
        self._removed = removed
        self._numbers: dict[bytes, int] = {}
        self._decided: dict[tuple[str, str], str] = {}

    def pseudonym(self, text: str) -> str:
        """Return what stands for a text, or for a word, everywhere in the copy."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return f"anon{self._numbers.setdefault(digest, len(self._numbers) + 1)}"

    def written(self, kind: str, text: str) -> str:
        """Return a name of this kind (or, joined by a bar, of several at once) as it may stand in the copy."""
        text = _storable(text)
        found = self._decided.get((kind, text))
        if found is None:
            if len(self._decided) >= _SEEN:
                self._decided.clear()
            found = self._decided[kind, text] = self._decide([KINDS[one] for one in kind.split("|")], text)
            self._removed.names += found != text
        return found

    def _decide(self, kinds: Sequence[Kind], text: str) -> str:
        """Write a name, and see to it that it still means the same."""

        def means(name: str) -> Sequence[Hashable]:
            return [kind.meaning(name) for kind in kinds]

        wanted = means(text)
        found = next((name for name in self._candidates(kinds, text) if means(name) == wanted), None)
        if found is None:
            self._removed.meanings += 1
        return found or self.pseudonym(text)

    def _candidates(self, kinds: Sequence[Kind], text: str) -> Iterator[str]:
        """Yield what a name may be written as, the most telling first."""
        for kind in kinds:
            yield kind.write(self, text)
        for kind in kinds:
            yield from (pattern.format(self.pseudonym(text)) for pattern in ("{}", *kind.substitutes))

    def code(self, text: str) -> str:
        """Replace all words of a piece of code that are not listed."""
        if not _CODE.fullmatch(text) or _DOTTED.search(text) or (_SENTENCE.fullmatch(text) and not _is_told(text)):
            return self.pseudonym(text)
        return _TOKEN.sub(lambda token: token[0] if is_listed(token[0]) else self.pseudonym(token[0]), text)

    def one_of(self, listed: tuple[str, ...], text: str) -> str:
        """Keep a text that is listed."""
        return text if text in listed else self.pseudonym(text)


def _is_told(text: str) -> bool:
    """Tell whether a sentence consists of listed words, and no numbers."""
    return all(is_listed(token) and not token.isdigit() for token in _TOKEN.findall(text))


def _storable(text: str) -> str:
    """Cut a name and replace what is no UTF-8, as readers do it, so that names that they hold equal stay equal."""
    if len(text) > LONGEST_NAME:
        text = text[:LONGEST_NAME]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _nothing(_name: str) -> Hashable:
    return None


@dataclass(frozen=True)
class Kind:
    """A kind of names."""

    says: str
    """What of them stays, for the documentation."""
    write: Callable[[Names, str], str]
    meaning: Callable[[str], Hashable] = _nothing
    substitutes: tuple[str, ...] = ()
    """Patterns that a pseudonym is put into where it alone would not mean what the name did."""


def _listed(pattern: str) -> Callable[[Names, str], str]:
    """Keep names of this shape, and nothing of others."""
    known = re.compile(pattern)
    return lambda names, text: text if known.fullmatch(text) else names.pseudonym(text)


# Kernels, copies, calls and operators

_FAMILIES = (
    *(
        "flash_",
        "transpose_",
        "conv2d_",
        "gemm_",
        "batch_norm_",
        "multi_tensor_apply_",
        "softmax_",
        "pool_",
        "upsample_",
    ),
    *("sort_", "fill_", "copy_kernel_", "reduce_", "elementwise_", "triton_"),
)
_COLLECTIVES = (
    *("AllReduce", "AllGather", "ReduceScatter", "Broadcast", "Reduce", "SendRecv", "AllToAll", "Send", "Recv", ""),
)
_LIKE_KERNELS = (
    *(f"{family}{precision}{{}}" for family in _FAMILIES for precision in ("", "half_")),
    *(f"nccl{operation}_{{}}" for operation in _COLLECTIVES),
    "{}_nccl",
)

_MEMORY = r"(?:Pageable|Pinned|Managed|Device|Host|Array|Peer|Unknown)"
_COPIES = rf"Memcpy (?:HtoD|DtoH|DtoD|HtoH|PtoP|HtoA|AtoH|AtoA|AtoD|DtoA|Unknown)(?: \({_MEMORY} -> {_MEMORY}\))?"
_LIKE_COPIES = tuple(
    f"Memcpy {kind}{memory} {{}}".lstrip()
    for kind in ("HtoD", "DtoH", "DtoD", "HtoH", "PtoP")
    for memory in ("", " (Pageable)", " (Pinned)", " (Managed)")
)

_LIKE_CALLS = (
    *("cudaLaunchKernel_{}", "cudaGraphLaunch_{}", "cudaMemcpy_{}", "cudaMemcpyAsync_{}", "cudaMemset_{}"),
    *("cudaStreamSynchronize_{}", "cudaMalloc_{}", "cudaModuleLoad_{}"),
)

_BACKWARD = re.compile(r"(?<=\w)Backward\d{0,5}\Z")
_FIRST_WORDS = (
    *("", "all_reduce_", "foreach_", "attention_", "conv_", "batch_norm_", "softmax_", "pool_", "upsample_", "nms_"),
    *("loss_", "silu_", "mm_", "sort_", "copy_", "zero_", "sum_", "add_", "view_"),
)
_LIKE_OPERATORS = tuple(
    f"{scope}{word}{{}}{rest}"
    for word in _FIRST_WORDS
    for scope in ("", "torch::autograd::")
    for rest in ("", "Backward0", " compile_fx")
)


def _operator(names: Names, text: str) -> str:
    if (known := _known_range(names, text)) is not None:  # old recorders write ranges as operators
        return known
    backward = _BACKWARD.search(text)
    return names.code(text[: backward.start()]) + backward[0] if backward else names.code(text)


# Ranges

_STAGE_WORDS = (
    r"forward|backward|loss|optimizer|zero_grad|data_?load(?:ing|er)?|load_batch|validation|validate|evaluate"
    r"|wait_for_(?:training_)?batch|train|training|inference|preprocess|postprocess|nms|step|epoch|batch"
)
_ORNAMENT = r"[#*=.:()\[\] -]{0,4}"
_SHAPES = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"(ProfilerStep#\d{1,15})",
        r"(enumerate\(DataLoader\)#)(.*)",
        r"(Optimizer\.(?:step|zero_grad)#)(.*)",
        r"((?:DistributedDataParallel|FullyShardedDataParallel|FSDP)\.forward)",
        rf"({_ORNAMENT}(?:{_STAGE_WORDS}){_ORNAMENT})",
        r"((?:nccl|gloo|mpi|ucc|c10d):)(\w+)",
        r"((?:## )?Torch-Compiled Region(?:: \d{1,4}/\d{1,4})?(?: ##)?|TorchDynamo Cache Lookup|Pregraph bytecode)",
        r"(PyTorch Profiler(?: \(\d\))?|Iteration Start: PyTorch Profiler|Record Window End|\[memory\])",
        rf"({LOADER_PREFIX})(.*)",
    )
)
"""What stays of a range as it is, and code behind it."""

_MODULE = re.compile(rf"{MODULE_PREFIX}(?P<path>\S+)(?: (?P<kind>[^()]+?))?(?: \((?P<part>[^()]+)\))?")
_PARTS = ("backbone", "neck", "head")


def _known_range(names: Names, text: str) -> str | None:
    for shape in _SHAPES:
        if found := shape.fullmatch(text):
            return "".join((found[1], *map(names.code, found.groups()[1:])))
    return None


def _range(names: Names, text: str) -> str:
    if module := _MODULE.fullmatch(text):
        path = ".".join(map(names.code, module["path"].split(".")))
        kind = f" {names.code(module['kind'])}" if module["kind"] else ""
        part = f" ({names.one_of(_PARTS, module['part'])})" if module["part"] else ""
        return f"{MODULE_PREFIX}{path}{kind}{part}"
    if text.startswith(PREFIX):
        return PREFIX + names.one_of((*STAGES, "window"), text.removeprefix(PREFIX))
    return _known_range(names, text) or names.pseudonym(text)


_LIKE_RANGES = (
    *("forward", "backward", "loss", "optimizer", "dataload", "validate"),
    *(
        f"{prefix}{{}}{rest}"
        for prefix in (
            *("", "enumerate(DataLoader)#", "Optimizer.step#", "DistributedDataParallel.forward "),
            *(PREFIX, MODULE_PREFIX, LOADER_PREFIX),
        )
        for rest in ("", " compile_fx", " _SingleProcess", " compile_fx _SingleProcess")
    ),
)

_OPERATOR_IN_NVTX = re.compile(
    r"(?P<name>.+?)(?P<numbers>(?:, seq = -?\d{1,18})?(?:, op_id = \d{1,18})?"
    r"(?:, sizes = \[[\[\]\d, ]*\])?(?:, input_op_ids = \[[\[\]()\d, ]*\])?)",
    re.DOTALL,
)
_DOMAINS = re.compile(r"|NCCL|CCCL|libcu\+\+|CUB|Thrust|cuBLAS|cuDNN|cuFFT|MPI|TensorRT|PyTorch")
_OF_NVIDIA = re.compile(r"nccl[A-Z][A-Za-z]{2,24}|cub::Device[A-Z][A-Za-z]{2,24}(?:::\w{2,24})?")


def _nvtx(names: Names, text: str) -> str:
    operator = _OPERATOR_IN_NVTX.fullmatch(text)
    if operator and operator["numbers"]:
        return names.written("operator", operator["name"]) + operator["numbers"]
    if _DOMAINS.fullmatch(text):
        return text
    return names.code(text) if _OF_NVIDIA.fullmatch(text) else names.written("range", text)


# Python

_PYTHON_CALL = re.compile(r"(?P<path>.+)\((?P<line>\d{1,9})\): (?P<function>.+)", re.DOTALL)
_MODULE_CALL = re.compile(r"nn\.Module: (?P<name>.+)", re.DOTALL)
_BUILT_IN = re.compile(r"<built-in (?P<what>method|function) (?P<name>[\w.]+)(?: of (?P<of>.+))?>", re.DOTALL)
_OBJECT = re.compile(r"(?P<type>[\w.]+)(?: object at (?P<address>0x[0-9a-fA-F]+))?")
_IN_PACKAGES = re.compile(r".*(?:^|[\\/])(?:site|dist)-packages[\\/]+(?P<path>.+)", re.DOTALL)
_IN_LIBRARY = re.compile(r".*[\\/]lib(?:64)?[\\/]python3(?:\.\d+)?[\\/]+(?P<path>.+)|(?P<alone>[^\\/].*)", re.DOTALL)
PACKAGES = frozenset(
    (
        *(
            "torch",
            "torchvision",
            "torchaudio",
            "triton",
            "ultralytics",
            "numpy",
            "scipy",
            "pandas",
            "PIL",
            "cv2",
            "tqdm",
        ),
        *("matplotlib", "psutil", "onnx", "onnxruntime", "transformers", "accelerate", "lightning", "timm", "vllm"),
        *("torchrec", "fbgemm_gpu", "nvtx", "tbperf", "tbperf_inside", "albumentations"),
    )
)
"""Packages whose files are public, besides the modules of Python's own library."""


def _python(names: Names, text: str) -> str:
    if call := _PYTHON_CALL.fullmatch(text):
        return f"{_file(names, call['path'])}({call['line']}): {names.code(call['function'])}"
    if module := _MODULE_CALL.fullmatch(text):
        return f"nn.Module: {names.code(module['name'])}"
    if built_in := _BUILT_IN.fullmatch(text):
        owner = f" of {_object(names, built_in['of'])}" if built_in["of"] else ""
        return f"<built-in {built_in['what']} {names.code(built_in['name'])}{owner}>"
    return names.pseudonym(text)


def _file(names: Names, path: str) -> str:
    """Write the path of a source file: the part inside of a public package, else nothing of it."""
    inside = ""
    if found := _IN_PACKAGES.fullmatch(path):
        inside, public = found["path"], PACKAGES
    elif found := _IN_LIBRARY.fullmatch(path):
        inside, public = found["path"] or found["alone"], PACKAGES | sys.stdlib_module_names
    first, *rest = re.split(r"[\\/]+", inside)
    if inside and first.removesuffix(".py") in public:
        return "/".join((first, *map(names.code, rest)))
    return names.pseudonym(path) + (".py" if path.endswith(".py") else "")


def _object(names: Names, text: str) -> str:
    found = _OBJECT.fullmatch(text)
    if found is None:
        return names.pseudonym(text)
    return names.code(found["type"]) + (f" object at {names.pseudonym(found['address'])}" if found["address"] else "")


_LIKE_PYTHON = tuple(
    f"{module}{compiling}{{}}{file}"
    for module in ("", "nn.Module: ")
    for compiling in ("", "compile_fx ")
    for file in ("", ".py(0): call")
)


# Threads, processes and machines

_PROGRAMS = r"python[\d.]{0,8}|yolo|torchrun|tbperf"
_THREADS = (
    rf"{_PROGRAMS}|pt_main_thread|pt_autograd_\d{{1,4}}|pt_data_(?:worker|pin)|MainThread|Thread-\d{{1,4}}"
    r"|\[NSys(?: Comms)?\]|cuda-EvtHandlr|CUPTI worker thread|loader worker \d{1,5}|loader, in the process itself"
    r"|stream -?\d{1,19} ?|PyTorch Profiler|Trace PyTorch Profiler|"
)
_LISTED_THREAD = re.compile(rf"(?:{_THREADS})")
_NUMBERED_THREAD = re.compile(r"thread (?P<number>-?\d{1,19}) \((?P<name>.*)\)", re.DOTALL)


def _thread(names: Names, text: str) -> str:
    numbered = _NUMBERED_THREAD.fullmatch(text)
    name = numbered["name"] if numbered else text
    written = name if _LISTED_THREAD.fullmatch(name) else names.pseudonym(name)
    return f"thread {numbered['number']} ({written})" if numbered else written


_PROCESSES = rf"{_PROGRAMS}|CPU(?: functions)?|GPU \d{{1,4}}|Spans|Traces|"


def _of_words(listed: str, shape: str) -> Callable[[Names, str], str]:
    """Keep names of at most a dozen words, of which each is listed or has this shape."""
    words, other = frozenset(listed.split()), re.compile(shape)

    def write(names: Names, text: str) -> str:
        found = text.split(" ", _MOST_WORDS)
        known = all(not word or word in words or other.fullmatch(word) for word in found)
        return text if known else names.pseudonym(text)

    return write


_MOST_WORDS = 12
_DEVICE_WORDS = """
NVIDIA AMD Intel Intel(R) Apple ARM Tesla GeForce Quadro TITAN RTX GTX Radeon Instinct Jetson Orin Xavier Thor nvgpu
Graphics Laptop GPU CPU Max-Q Super SUPER Ti XT XTX Pro PRO Ada Generation PCIe PCI NVL OAM MIG SXM @ EPYC Ryzen
Threadripper Xeon Xeon(R) Core Core(TM) Gold Silver Bronze Platinum Processor Neoverse
"""
_DEVICE_NUMBERS = (
    r"[A-Z]{0,2}\d{1,4}[A-Z]{0,2}(?:-(?:SXM\d?|PCIE?|NVL))?(?:-\d{1,3}GB)?|SXM\d|HBM\d[a-z]?|\d{1,4}GB|\d{1,3}-Core"
    r"|\d\.\d{1,2}GHz|[im]\d-\d{1,5}[A-Z]{0,2}|v\d|\d[gm]\.\d{1,3}gb"
)
_METRIC_WORDS = """
SM SMs GPC SYS DRAM PCIe NVLink RX TX Active Issue Warps in Flight Unallocated Compute Tensor Vertex Tess Geometry Pixel
Read Write Bandwidth Clock Frequency Async Graphics Copy Engine Bytes Throughput Requests Responses Data Protocol
L2 BAR1 GPU GR CE [Throughput %] [MHz] [Avg Warps] [Warps] / Instructions Issued of Cycle
"""
_METRIC_NUMBERS = r"\d{1,3}|\[[%A-Z]{1,6}\]"


# Run folders

_COMMANDS = (
    *(
        "yolo",
        "python",
        "python3",
        "torchrun",
        "tbperf",
        "accelerate",
        "train",
        "val",
        "predict",
        "track",
        "export",
        "benchmark",
    ),
    *("detect", "segment", "classify", "pose", "obb", "-m", "--", "-u"),
)
_KNOWN_VALUES = re.compile(
    r"yolo(?:v?\d{1,2}|e|-?nas|_nas)?(?:-?v?\d{1,2})?[nsmlxbctue]{0,2}(?:-(?:seg|cls|pose|obb|world|worldv2|p2|p6)){0,2}"
    r"\.(?:pt|yaml|onnx|engine|torchscript)|rtdetr-(?:l|x|resnet\d{2,3})\.(?:pt|yaml)"
    r"|(?:coco\d{0,3}|coco\d{0,3}-(?:seg|pose)|coco-pose|VOC|VisDrone|DOTAv\d(?:\.\d)?|dota8|imagenet\d{0,2}|cifar10|mnist)"
    r"(?:\.yaml)?|(?:botsort|bytetrack|tracktrack)\.yaml"
    r"|SGD|Adam|AdamW|NAdam|RAdam|Adamax|RMSProp|MuSGD|auto|ram|disk|cpu|mps|cuda|(?:cuda:)?\d{1,2}(?:,\d{1,2}){0,15}"
    r"|randaugment|autoaugment|augmix|flip|mixup|torchscript|onnx|openvino|engine|coreml|saved_model|pb|tflite|ncnn"
    r"|true|false|True|False|None|none|null|-?\d{1,7}(?:\.\d{1,7})?(?:e-?\d{1,2})?|test|"
)
"""Models, data sets and settings that Ultralytics comes with."""


def _argument(names: Names, text: str) -> str:
    if text in _COMMANDS or _KNOWN_VALUES.fullmatch(text):
        return text
    name, equals, value = text.partition("=")
    if equals and name.strip("-").replace("-", "_").isidentifier():
        kept = value if value in _COMMANDS or _KNOWN_VALUES.fullmatch(value) else names.pseudonym(value)
        return f"{_option(names, name)}={kept}"
    return _option(names, text) if text.startswith("-") else names.pseudonym(text)


def _option(names: Names, text: str) -> str:
    """Write the name of an option, or of a parameter."""
    bare = text.lstrip("-")
    return text[: len(text) - len(bare)] + names.code(bare.replace("-", "_"))


_SERIES = (
    r"(?:gpu_utilization|cpu|core)_percent|gpu_memory_bytes|(?:sm|memory)_clock_mhz|power_(?:limit_)?watts|temperature_celsius"
    r"|throttle_reasons|energy_joules|pcie_[rt]x_bytes_per_s|memory_available_bytes|page_cache_bytes|rss_bytes|processes"
    r"|(?:disk_read|disk_write|net_received|net_sent)_bytes_per_s"
)

_PROSE = re.compile(r"(?:[\w ,;:!?'()%+#\t\n]|(?<=\d)\.(?=\d)|\.(?=\s|$)|(?<=[a-z])[-/](?=[a-zA-Z]))*", re.ASCII)
"""The punctuation of sentences: what holds a path, an address of a machine or a quoted text is none."""


def _prose(names: Names, text: str) -> str:
    plain = _PROSE.fullmatch(text) and all(map(is_listed, _TOKEN.findall(text)))
    return text if plain or _VERSION.fullmatch(text) else names.pseudonym(text)


_VERSION = re.compile(r"\d{1,4}(?:\.\d{1,6}){1,3}(?:-\d{1,9}v\d{1,3})?")

KINDS: dict[str, Kind] = {
    "kernel": Kind(
        "listed words and short numbers stay, other words are replaced",
        Names.code,
        meaning.of_kernel,
        _LIKE_KERNELS,
    ),
    "copy": Kind("`Memcpy HtoD (Pageable -> Device)`", _listed(_COPIES), meaning.of_copy, _LIKE_COPIES),
    "call": Kind("calls of CUDA and ROCm, by words as kernels", Names.code, meaning.of_call, _LIKE_CALLS),
    "operator": Kind(
        "by words as kernels; `Backward0`, and what stays of ranges", _operator, meaning.of_operator, _LIKE_OPERATORS
    ),
    "range": Kind(
        "`ProfilerStep#7`, tbperf's own stages and modules, torch's own annotations, the words that name a stage"
        " (`forward`, `## backward ##`, `dataloader`); any other is replaced as a whole",
        _range,
        meaning.of_range,
        _LIKE_RANGES,
    ),
    "nvtx": Kind("as ranges; operators as `emit_nvtx` writes them, names and domains of NVIDIA's own libraries", _nvtx),
    "python": Kind(
        "files of public packages and of Python's library by their path inside of it"
        " (`torch/nn/modules/conv.py(5): forward`), of other files the line; functions and classes by words as kernels",
        _python,
        meaning.of_python,
        _LIKE_PYTHON,
    ),
    "overhead": Kind(
        "CUPTI's own words",
        _listed(
            r"Activity Buffer Request|Buffer Flush|Instrumentation|Resource|Lazy Function Loading|Command Buffer Full"
            r"|Runtime Triggered Module Loading|Runtime module loading|Driver (?:JIT )?[Cc]ompiler|Unknown"
            r"|CUDA profiling (?:data flush|initialization|start|stop)(?: overhead)?"
        ),
        meaning.of_overhead,
        ("Lazy Function Loading {}", "Command Buffer Full {}"),
    ),
    "thread": Kind(
        "`python`, `pt_autograd_0`, `stream 7`, `loader worker 1` and their like",
        _thread,
        meaning.of_thread,
        ("loader worker {}",),
    ),
    "process": Kind("`python3.11`, `yolo`, `torchrun`; `CPU`, `GPU 0`", _listed(_PROCESSES)),
    "device": Kind(
        "vendors and models (`NVIDIA H100 80GB HBM3`, `AMD EPYC 7763`)", _of_words(_DEVICE_WORDS, _DEVICE_NUMBERS)
    ),
    "metric": Kind("names of Nsight's GPU metrics", _of_words(_METRIC_WORDS, _METRIC_NUMBERS)),
    "code": Kind("by words as kernels", Names.code),
    "stage": Kind("stages of tbperf", _listed("|".join(STAGES))),
    "phase": Kind("`train`, `val`, `predict`", _listed("train|val|predict")),
    "series": Kind("series of tbperf's hardware log", _listed(_SERIES)),
    "argument": Kind(
        "parameters by words as kernels; numbers, and the models, data sets and settings that Ultralytics comes with",
        _argument,
    ),
    "prose": Kind("sentences, constants and versions all of whose words are listed; any other as a whole", _prose),
}
"""What stays of each kind of names."""
