"""What the names of framework operators mean, forward and backward."""

from __future__ import annotations

import functools
import re

_SCOPES = re.compile(r"\A(?:autograd::engine::evaluate_function: )?(?:\w+::)*_*")
"""What stands before the name proper."""

_NODE, _HUMP = re.compile(r"\A[A-Z]\w*Backward\d*$"), re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Nodes of autograd's graph are named in capitals (UnsafeViewBackward0), operators are not."""

_CONTAINING = (
    ("collective", "allreduce all_reduce allgather all_gather reduce_scatter record_param_comms"),
    ("optimizer", "Optimizer. foreach_ fused_adam fused_sgd fused_adagrad addcdiv"),
    ("attention", "attention"),
    ("convolution", "conv"),
    ("normalization", "batch_norm layer_norm group_norm instance_norm rms_norm batchnorm layernorm"),
    ("softmax", "softmax"),
    ("pooling", "pool"),
    ("upsampling", "upsample interpolate grid_sampl"),
    ("sort and select", "nms"),
    ("elementwise", "loss cross_entropy"),
)
"""Sorts of work, and what is in the names of their operators; the first that applies."""

_BEGINNING = (
    (
        "activation",
        (
            "silu relu relu6 gelu mish elu celu selu sigmoid log_sigmoid logsigmoid hardswish hardsigmoid"
            " hardtanh tanh softplus leaky_relu prelu threshold"
        ),
    ),
    ("matrix product", "mm bmm addmm addmv mv baddbmm matmul linear outer ger dot vdot einsum"),
    (
        "sort and select",
        (
            "sort argsort topk kthvalue unique unique2 index nonzero take gather embedding scatter masked_select"
            " masked_scatter where searchsorted bincount isin"
        ),
    ),
    (
        "cast and copy",
        (
            "copy to_copy to_cpu clone contiguous cat stack hstack vstack concat pin_memory constant_pad pad"
            " repeat roll flip tile reflection_pad replication_pad im2col col2im copy_slices copyslices"
            " copybackwards"
        ),
    ),
    (
        "fill",
        (
            "zero zeros fill ones full new_zeros new_ones new_full scalar_tensor arange linspace eye bernoulli"
            " uniform normal rand randn randint randperm masked_fill"
        ),
    ),
    (
        "reduction",
        (
            "sum mean prod std var norm linalg amax amin aminmax argmax argmin max min any all cumsum cumprod"
            " count_nonzero logsumexp local_scalar_dense item grad_sum_to_size median"
        ),
    ),
    (
        "elementwise",
        (
            "add sub rsub mul div true_divide pow exp expm1 log log2 log1p sqrt rsqrt clamp clip neg abs sign eq"
            " ne lt gt le ge bitwise logical and iand or ior maximum minimum fmax fmin sin cos tan asin acos atan"
            " atan2 sinh cosh floor ceil round trunc frac fmod remainder reciprocal square lerp erf isnan isfinite"
            " isinf nan_to_num addcmul dropout native_dropout fused_dropout accumulategrad"
        ),
    ),
    (
        "views and allocation",
        (
            "empty new_empty view unsafe_view as_strided slice select reshape reshape_alias expand permute"
            " transpose t squeeze unsqueeze detach narrow split chunk tensor_split unsafe_split unsafe_chunk"
            " unbind resize alias lift_fresh set size stride flatten unflatten movedim swapaxes broadcast meshgrid"
            " nnpack_available result_type resolve_conj resolve_neg is has to type_as requires_grad unfold"
            " diagonal version"
        ),
    ),
)
"""Sorts of work, and the words that the names of their operators begin with."""

BOOKKEEPING, OTHER_OPERATORS = "views and allocation", "other operators"

OPERATOR_FAMILIES = tuple(dict.fromkeys([*(family for family, _ in (*_CONTAINING, *_BEGINNING)), OTHER_OPERATORS]))
"""All sorts of work."""

_PATTERNS = (
    *((family, re.compile("|".join(map(re.escape, words.split())), re.IGNORECASE)) for family, words in _CONTAINING),
    *((family, re.compile(rf"^(?:{'|'.join(words.split())})(?:_|\d*$)")) for family, words in _BEGINNING),
)


@functools.lru_cache(maxsize=1 << 16)
def operator_family(name: str) -> str:
    """Return what sort of work an operator does, by its name, in the words of `kernel_family`.

    `BOOKKEEPING` for what moves no data, and `OTHER_OPERATORS` for what is not known here: both do the work of the
    operator that calls them, where one does.
    """
    base = _SCOPES.sub("", name)
    if _NODE.match(base):
        base = _HUMP.sub("_", base)
    base = base if base.startswith("Optimizer.") else base.lower()
    return next((family for family, pattern in _PATTERNS if pattern.search(base)), OTHER_OPERATORS)
