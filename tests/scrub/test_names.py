"""Names: which stay, which are replaced in part, and which as a whole."""

import pytest

from tbperf.scrub.names import KINDS, Names, is_listed
from tbperf.scrub.removed import Removed


def written(kind, text):
    return Names(Removed()).written(kind, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("kernel", "ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_64x4_tn"),
        (
            "kernel",
            "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>, std::array<char*, 1> >",
        ),
        (
            "kernel",
            "void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, false> >(flash::Flash_fwd_params)",
        ),
        ("kernel", "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"),
        ("kernel", "triton_poi_fused__to_copy_add_native_layer_norm_3"),
        ("kernel", "void cub::DeviceReduceKernel<int, (int)-1>(int const*)"),
        ("copy", "Memcpy HtoD (Pageable -> Device)"),
        ("call", "cudaLaunchKernelExC"),
        ("call", "hipMemcpyWithStream"),
        ("call", "cudaStreamGetCaptureInfo_v2"),
        ("operator", "aten::_native_batch_norm_legit"),
        ("operator", "autograd::engine::evaluate_function: ConvolutionBackward0"),
        ("operator", "torchvision::nms"),
        ("operator", "Optimizer.step#SGD.step"),
        ("range", "ProfilerStep#1013"),
        ("range", "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__"),
        ("range", "tbperf/dataload"),
        ("range", "tbperf/module:model.22.cv3.0 Sequential (head)"),
        ("range", "## forward ##"),
        ("range", "nccl:all_reduce"),
        ("range", "loader/RandomPerspective"),
        ("nvtx", "aten::add, seq = 3, op_id = 7, sizes = [[1, 2], []]"),
        ("python", "torch/nn/modules/module.py(1501): _call_impl"),
        ("python", "threading.py(1002): _bootstrap_inner"),
        ("python", "ultralytics/engine/trainer.py(380): train"),
        ("python", "nn.Module: Conv2d_3"),
        ("python", "<built-in function len>"),
        ("overhead", "Lazy Function Loading"),
        ("thread", "thread 25772 (pt_autograd_0)"),
        ("process", "python3.11"),
        ("device", "NVIDIA H100 80GB HBM3"),
        ("device", "NVIDIA A100-SXM4-80GB"),
        ("device", "AMD EPYC 7763 64-Core Processor"),
        ("argument", "model=yolov8n-seg.pt"),
        ("argument", "lr0=0.01"),
        ("argument", "--epochs=3"),
        ("prose", "NVML: NVML Shared Library Not Found"),
        ("prose", "2024.5.1.113"),
    ],
)
def test_what_is_listed_stays(kind, text):
    assert written(kind, text) == text


@pytest.mark.parametrize(
    ("kind", "text", "copy"),
    [
        ("kernel", "acme_fused_conv_kernel<float>", "anon1_fused_conv_kernel<float>"),
        ("kernel", "void acme::acme_kernel(int)", "void anon1::anon1_kernel(int)"),
        ("kernel", "acmegemm", "gemm_anon1"),
        ("kernel", "kernel_123456", "kernel_anon1"),
        ("kernel", "load /srv/x", "anon1"),
        ("kernel", "a1b2c3d4e5", "anon1"),
        ("kernel", "k_10.0.0.7", "anon1"),
        ("kernel", "gpu_node17", "gpu_anon1"),
        ("operator", "customer 4711 of acme", "anon1"),
        ("operator", "load batch 4711", "anon1"),
        ("operator", "jane.doe@example.com", "anon1"),
        ("operator", "acme::attention", "anon1::attention"),
        ("operator", "AcmeBackward0", "anon1Backward0"),
        ("call", "cudaStreamSynchronizeAcme", "cudaStreamSynchronize_anon1"),
        ("range", "my stage of acme", "anon1"),
        ("range", "tbperf/acme", "tbperf/anon1"),
        ("range", "tbperf/module:acme.0.conv Acme (acme)", "tbperf/module:anon1.0.conv anon2 (anon1)"),
        ("range", "enumerate(DataLoader)#Acme.__next__", "enumerate(DataLoader)#anon1.__next__"),
        ("range", "DataLoader of acme", "anon1"),
        ("python", "/home/u/python3/acme-secret/train.py(1): f", "anon1.py(1): f"),
        ("python", "../acme/train.py(3): forward", "anon1.py(3): forward"),
        ("python", "D:\\Kunden\\Acme GmbH\\train.py(2): g", "anon1.py(2): g"),
        ("python", "/x/lib/python3.11/json/decoder.py(3): decode", "json/decoder.py(3): decode"),
        ("python", "C:\\x\\site-packages\\torch\\functional.py(3): split", "torch/functional.py(3): split"),
        ("python", "/x/site-packages/acme/conv.py(3): forward", "anon1.py(3): forward"),
        ("python", "torch/../acme/x.py(3): forward", "torch/../anon1/x.py(3): forward"),
        ("python", "<built-in method open of /srv/[acme]/weights.pt>", "<built-in method open of anon1>"),
        ("thread", "thread 7 (acme)", "thread 7 (anon1)"),
        ("process", "python train.py --token abc", "anon1"),
        ("device", "acme H100", "anon1"),
        ("argument", "data=/data/acme.yaml", "data=anon1"),
        ("argument", "--acme-mode=3", "--anon1_mode=3"),
        ("argument", "/home/acme/train.py", "anon1"),
        ("prose", "the layers of the model of train.acme.internal are not shown", "anon1"),
    ],
)
def test_what_is_not_listed_is_replaced(kind, text, copy):
    assert written(kind, text) == copy


def test_a_name_that_no_reader_holds_whole_is_cut_as_readers_cut_it():
    names = Names(Removed())

    assert names.written("range", "x" * 70_000) == names.written("range", "x" * 80_000)


def test_long_names_take_time_in_proportion():
    """Patterns that backtrack would not end."""
    for text in ("(" * 60_000, "a1" * 30_000, "/x" * 30_000, "x, sizes = [" * 5_000, "Backward" * 8_000, " 1" * 30_000):
        for kind in set(KINDS) - {"kernel"}:
            assert "\n" not in written(kind, text)


@pytest.mark.parametrize(
    "word", ["secret", "token", "password", "user", "customer", "alice", "acme", "s3cret", "hunter2"]
)
def test_words_that_can_name_somebody_are_not_listed(word):
    assert not is_listed(word)
    assert not is_listed(word.upper())


def test_numbers_and_machines_are_not_words():
    assert is_listed("s16816gemm")
    assert not is_listed("123456")
    assert not is_listed("1320a4f0b1")
    assert not is_listed("node17")
