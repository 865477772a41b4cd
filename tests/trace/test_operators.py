"""The sort of work of an operator, by names as torch and torchvision give them."""

import pytest

from tbperf.trace.operators import OPERATOR_FAMILIES, operator_family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("aten::mkldnn_convolution", "convolution"),
        ("aten::_slow_conv2d_forward", "convolution"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "convolution"),
        ("aten::native_batch_norm_backward", "normalization"),
        ("NativeBatchNormBackward0", "normalization"),
        ("aten::silu_", "activation"),
        ("aten::log_sigmoid_forward", "activation"),
        ("aten::addmm", "matrix product"),
        ("aten::_log_softmax_backward_data", "softmax"),
        ("aten::scaled_dot_product_attention", "attention"),
        ("autograd::engine::evaluate_function: MaxPool2DWithIndicesBackward0", "pooling"),
        ("aten::upsample_nearest2d", "upsampling"),
        ("torchvision::nms", "sort and select"),
        ("aten::_index_put_impl_", "sort and select"),
        ("aten::_to_copy", "cast and copy"),
        ("torch::autograd::CopySlices", "cast and copy"),
        ("aten::cat", "cast and copy"),
        ("aten::zeros_like", "fill"),
        ("aten::max", "reduction"),
        ("aten::_local_scalar_dense", "reduction"),
        ("aten::maximum", "elementwise"),
        ("aten::binary_cross_entropy_with_logits", "elementwise"),
        ("autograd::engine::evaluate_function: torch::autograd::AccumulateGrad", "elementwise"),
        ("aten::_foreach_add_", "optimizer"),
        ("aten::_fused_adamw_", "optimizer"),
        ("c10d::allreduce_", "collective"),
        ("aten::empty_strided", "views and allocation"),
        ("aten::to", "views and allocation"),
        ("UnsafeViewBackward0", "views and allocation"),
        ("aten::t", "views and allocation"),
        ("mylib::anything", "other operators"),
        ("", "other operators"),
    ],
)
def test_families(name, family):
    assert operator_family(name) == family
    assert family in OPERATOR_FAMILIES
