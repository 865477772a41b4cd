"""What the names of API calls and kernels mean, for CUDA and ROCm."""

from __future__ import annotations

import functools
import re

_RUNTIME = r"(?:cuda|cu|hip)"

KERNEL_LAUNCH = re.compile(rf"{_RUNTIME}(?!\w*Graph)(?!\w*HostFunc)\w*Launch\w*$")
GRAPH_LAUNCH = re.compile(rf"{_RUNTIME}GraphLaunch\w*$")
COPY_CALL = re.compile(rf"{_RUNTIME}Memcpy\w*$")
ASYNC_COPY_CALL = re.compile(rf"{_RUNTIME}Memcpy\w*Async\w*$")
MEMSET_CALL = re.compile(rf"{_RUNTIME}(?:Memset|MemsetD\d+)\w*$")
SYNCHRONIZE = re.compile(rf"{_RUNTIME}(?:Stream|Device|Event|Ctx|Thread)Synchronize\w*$")
ALLOCATION = re.compile(
    rf"{_RUNTIME}(?:Malloc|Free|HostAlloc|HostFree|HostMalloc|HostRegister|HostUnregister"
    r"|Mem(?:Alloc|Free|HostAlloc|HostRegister|Create|Map|Unmap|Release|AddressReserve|AddressFree|SetAccess))\w*$"
)
MODULE_LOAD = re.compile(
    rf"{_RUNTIME}(?:Module(?:Load|GetFunction|GetGlobal)|Library(?:Load|GetKernel|GetModule)|Link(?:Create|Add|Complete)"
    r"|KernelGetFunction)\w*$"
)
COMPILATION = re.compile(
    r"(?:.*/)?(?:triton/(?:compiler|runtime)|torch/_dynamo/convert_frame|torch/_inductor/(?:compile_fx|async_compile"
    r"|runtime/triton_heuristics))\b.*(?:compile|autotune|benchmark)|.*\bcompile_fx\b|.*CachingAutotuner.*benchmark"
)
"""Python functions and ranges that compile or tune kernels."""

COLLECTIVE = re.compile(r"\W*(?:nccl|rccl|msccl|oneccl)", re.IGNORECASE)
"""Kernels that exchange data between devices."""

_FAMILIES = tuple(
    (family, re.compile(pattern, re.IGNORECASE))
    for family, pattern in (
        ("collective", COLLECTIVE.pattern),
        ("attention", r"flash_|fmha|attention|_sdpa"),
        ("layout", r"nchwToNhwc|nhwcToNchw|nhwcAddPadding|transpose|permute|im2col|col2im|im2d2col|contiguous"),
        (
            "convolution",
            r"convolve|(?<!un)conv(?:olution|\d|_)|dgrad|wgrad|fprop|winograd|cudnn::cnn|igemm.*(?:fwd|bwd|wrw)|miopen",
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
    r"cutlass3x_sm(?:8\d|9\d|1\d\d)(?!.*simt)|"
    r"xmma(?!.*f32f32_f32f32)|tf32|bf16|fp16|(?<![a-z])f16|half|e4m3|e5m2|fp8|fp4|"
    r"Cijk_.*_MI\d+x\d+"
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


_SAME_OPERATOR = re.compile(r"^(?:autograd::engine::evaluate_function: )?(?:\w+::)*")
"""What stands before the name proper of an operator."""

_NODE, _HUMP = re.compile(r"[A-Z]\w*Backward\d*$"), re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Nodes of autograd's graph are named in capitals (UnsafeViewBackward0), operators are not."""

_OPERATOR_FAMILIES = tuple(
    (family, re.compile(pattern, re.IGNORECASE))
    for family, pattern in (
        ("collective", r"all_?reduce|all_?gather|reduce_scatter|broadcast_?$|barrier|record_param_comms"),
        ("optimizer", r"^(?:Optimizer|_foreach_|_fused_(?:adam|sgd|adagrad))|addcdiv"),
        ("attention", r"scaled_dot_product|attention"),
        ("convolution", r"conv"),
        ("normalization", r"(?:batch|layer|group|instance|rms)_?norm"),
        ("softmax", r"softmax"),
        (
            "activation",
            r"^(?:native_)?(?:silu|relu|gelu|mish|elu|celu|selu|sigmoid|log_?sigmoid|hard(?:swish|sigmoid|tanh)|tanh|softplus"
            r"|leaky_?relu|prelu|threshold|swish)",
        ),
        ("matrix product", r"^(?:mm|bmm|addmm|addmv|mv|baddbmm|matmul|linear|outer|ger|dot|vdot|einsum|_?addmm_activation)(?:_|$)"),
        ("pooling", r"pool"),
        ("upsampling", r"upsample|interpolate|grid_sampl"),
        (
            "sort and select",
            r"nms|^(?:sort|argsort|topk|kthvalue|_?unique|_?index|nonzero|take|gather|scatter|masked_(?:select|scatter)|where"
            r"|searchsorted|bincount|isin)",
        ),
        (
            "cast and copy",
            r"^(?:copy|_?to_copy|_to_cpu|clone|contiguous|cat|_cat|stack|hstack|vstack|concat|pin_memory|constant_pad|pad|repeat"
            r"|roll|flip|tile|reflection_pad|replication_pad|im2col|col2im|CopySlices|_pack)",
        ),
        ("fill", r"^(?:zero|fill|ones|zeros|full|new_(?:zeros|ones|full)|scalar_tensor|arange|linspace|eye|bernoulli|uniform|normal|rand|masked_fill)"),
        (
            "reduction",
            r"^(?:sum|mean|prod|std|var|norm|linalg_|_linalg|amax|amin|aminmax|argmax|argmin|max|min|any|all|cumsum|cumprod|count_nonzero"
            r"|logsumexp|_local_scalar_dense|item|_grad_sum_to_size|median|trace)(?:_|$|\W|\d)",
        ),
        (
            "elementwise",
            r"loss|cross_entropy|^(?:add|sub|rsub|mul|div|true_divide|pow|exp|expm1|log|log2|log1p|sqrt|rsqrt|clamp|clip|neg|abs|sign|eq|ne"
            r"|lt|gt|le|ge|bitwise|logical|__\w+__|maximum|minimum|fmax|fmin|a?(?:sin|cos|tan)h?|atan2|floor|ceil|round|trunc|frac|fmod"
            r"|remainder|reciprocal|square|lerp|erf|isnan|isfinite|isinf|nan_to_num|addcmul|dropout|native_dropout|_?fused_dropout"
            r"|AccumulateGrad)(?:_|$|\d)",
        ),
    )
)

_BOOKKEEPING = re.compile(
    r"^(?:empty|new_empty|view|_?unsafe_view|as_strided|slice|select|reshape|_reshape_alias|expand|permute|transpose|t|T|squeeze"
    r"|unsqueeze|detach|narrow|split|chunk|unbind|_?resize|alias|lift_fresh|set|size|stride|flatten|unflatten|movedim|swapaxes"
    r"|tensor_split|resolve_(?:conj|neg)|unsafe_(?:split|chunk)|broadcast|meshgrid|_nnpack_available|result_type|is_\w+|_has_\w+|to|type_as|requires_grad|unfold|diagonal|_version|numpy_T)"
    r"(?:_|$|\d)",
    re.IGNORECASE,
)

OPERATOR_FAMILIES = tuple(family for family, _ in _OPERATOR_FAMILIES)
BOOKKEEPING, OTHER_OPERATORS = "views and allocation", "other operators"


@functools.lru_cache(maxsize=1 << 16)
def operator_family(name: str) -> str:
    """Return what sort of work an operator does, forward or backward, by its name: the words of `kernel_family`.

    `BOOKKEEPING` for what moves no data, and `OTHER_OPERATORS` for what is not known here: both do the work of the
    operator that calls them, where one does.
    """
    base = _SAME_OPERATOR.sub("", name)
    if _NODE.match(base):
        base = _HUMP.sub("_", base).lower()
    if base.startswith("to") and _BOOKKEEPING.match(base):
        return BOOKKEEPING
    found = next((family for family, pattern in _OPERATOR_FAMILIES if pattern.search(base)), None)
    return found or (BOOKKEEPING if _BOOKKEEPING.match(base) else OTHER_OPERATORS)
