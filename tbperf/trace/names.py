r"""What the names of API calls and kernels mean, for CUDA and ROCm.

A name may be as long as a file, and anything.  No pattern here takes more than one pass over it: what may stand
anywhere is looked for from one place only (``\A``, ``\b``), and a place that was found is kept (``(?=(…))\1`` does
not go back to look for another).
"""

from __future__ import annotations

import functools
import re

from tbperf.trace.tables import COPY_KINDS, HOST_MEMORY, NONE

_RUNTIME = r"(?:cuda|cu|hip)"

KERNEL_LAUNCH = re.compile(rf"\A(?=\w+$){_RUNTIME}(?!\w*Graph)(?!\w*HostFunc)\w*Launch")
GRAPH_LAUNCH = re.compile(rf"\A{_RUNTIME}GraphLaunch\w*$")
COPY_CALL = re.compile(rf"\A{_RUNTIME}Memcpy\w*$")
ASYNC_COPY_CALL = re.compile(rf"\A(?=\w+$){_RUNTIME}Memcpy\w*Async")
MEMSET_CALL = re.compile(rf"\A{_RUNTIME}Memset\w*$")
SYNCHRONIZE = re.compile(rf"\A{_RUNTIME}(?:Stream|Device|Event|Ctx|Thread)Synchronize\w*$")
ALLOCATION = re.compile(
    rf"\A{_RUNTIME}(?:Malloc|Free|HostAlloc|HostFree|HostMalloc|HostRegister|HostUnregister"
    r"|Mem(?:Alloc|Free|HostAlloc|HostRegister|Create|Map|Unmap|Release|AddressReserve|AddressFree|SetAccess))\w*$"
)
MODULE_LOAD = re.compile(
    rf"\A{_RUNTIME}(?:Module(?:Load|GetFunction|GetGlobal)|Library(?:Load|GetKernel|GetModule)|Link(?:Create|Add|Complete)"
    r"|KernelGetFunction)\w*$"
)
COMPILATION = re.compile(
    r"\A(?=(.*?(?<![^/])(?:triton/(?:compiler|runtime)|torch/_dynamo/convert_frame"
    r"|torch/_inductor/(?:compile_fx|async_compile|runtime/triton_heuristics))\b))\1.*(?:compile|autotune|benchmark)"
    r"|\A.*\bcompile_fx\b|\A(?=(.*?CachingAutotuner))\2.*benchmark"
)
"""Python functions and ranges that compile or tune kernels."""

COLLECTIVE = re.compile(r"\A\W*(?:nccl|rccl|msccl|oneccl)", re.IGNORECASE)
"""Kernels that exchange data between devices."""

_FAMILIES = tuple(
    (family, re.compile(pattern, re.IGNORECASE))
    for family, pattern in (
        ("collective", r"nccl|rccl|msccl|oneccl"),
        ("attention", r"flash_|fmha|attention|_sdpa"),
        ("layout", r"nchwToNhwc|nhwcToNchw|nhwcAddPadding|transpose|permute|im2col|col2im|im2d2col|contiguous"),
        (
            "convolution",
            (
                r"\A(?=(.*?igemm))\1.*(?:fwd|bwd|wrw)|convolve|(?<!un)conv(?:olution|\d|_)|dgrad|wgrad|fprop|winograd"
                r"|cudnn::cnn|miopen"
            ),
        ),
        ("matrix product", r"gemm|gemv|matmul|nvjet|cutlass|xmma|\bCijk_|splitK|cublas"),
        ("normalization", r"batch_?norm|layer_?norm|group_?norm|rms_?norm|\bbn_"),
        ("optimizer", r"multi_tensor_apply|Adam|\bsgd|fused_optim|_foreach"),
        ("softmax", r"softmax"),
        ("pooling", r"pool"),
        ("upsampling", r"upsample|interpolate"),
        ("sort and select", r"sort|topk|nms|scatter|gather|index|nonzero|unique|DeviceSelect|DeviceScan|masked"),
        ("fill", r"FillFunctor|fill_|memset|zero_"),
        ("cast and copy", r"copy_kernel|direct_copy|LoadWithCast|CatArray|_to_copy|memcpy"),
        ("reduction", r"reduce|\bsum_|norm_"),
        ("elementwise", r"elementwise|triton_poi|pointwise|Functor"),
        ("fused", r"triton_"),
    )
)

_MATRIX_FAMILIES = frozenset(("attention", "convolution", "matrix product"))
"""Families whose arithmetic tensor cores can do."""

_TENSOR_CORES = re.compile(
    r"tensorop|hmma|imma|wgmma|gmma|nvjet|flash_(?:fwd|bwd)|fmha_(?:cutlass|v\d)|mma_sync|"
    r"(?:^|[_:])[hisbe]?\d*(?:884|1688|16816|16832|8816)|(?:884|1688|16816)(?:cudnn|gemm|fprop|dgrad|wgrad)|"
    r"\A(?=(.*cutlass3x_sm(?:8\d|9\d|1\d\d)))\1(?!.*simt)|"
    r"\A(?=(.*xmma))\2(?!.*f32f32_f32f32)|tf32|bf16|fp16|(?<![a-z])f16|half|e4m3|e5m2|fp8|fp4|"
    r"\A(?=(.*?Cijk_))\3.*_MI\d+x\d"
)
"""Volta to Blackwell by the names of cuDNN, cuBLAS and CUTLASS; AMD's matrix cores by Tensile's MI tag."""


@functools.lru_cache(maxsize=1 << 16)
def kernel_family(name: str) -> str:
    """Return what sort of work a kernel does, by its name."""
    return next((family for family, pattern in _FAMILIES if pattern.search(name)), "other")


@functools.lru_cache(maxsize=1 << 16)
def uses_tensor_cores(name: str) -> bool | None:
    """Tell whether a kernel runs on tensor cores; None for work that they cannot do."""
    if kernel_family(name) not in _MATRIX_FAMILIES:
        return None
    return bool(_TENSOR_CORES.search(name))


_COPY = re.compile(rf"Memcpy\s*(?P<kind>{'|'.join(COPY_KINDS)})(?:\s*\((?P<way>[^)]*)\))?")
"""Copies as torch's profiler names them: ``Memcpy HtoD (Pageable -> Device)``."""


def copy_kind(name: str) -> int:
    """Return the direction of a copy as an index of `COPY_KINDS`, `NONE` where its name does not tell."""
    match = _COPY.search(name)
    return COPY_KINDS.index(match["kind"]) if match else NONE


def copied_memory(name: str) -> int:
    """Return the host memory of a copy as an index of `HOST_MEMORY`, `NONE` where its name does not tell."""
    match = _COPY.search(name)
    way = (match["way"] or "").lower() if match else ""
    return next((i for i, word in enumerate(HOST_MEMORY) if word in way), NONE)
