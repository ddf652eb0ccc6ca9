"""The split of a decoding step, counted by hand, and what it says of what binds a cell."""

from typing import Any

import pytest

from speed_benchmark.judge.judgement import Judged, StepSplit
from speed_benchmark.judge.step import kind
from speed_benchmark.record.cost import TokenCost
from speed_benchmark.record.machine import DevicePeaks
from speed_benchmark.record.record import DeviceWindow, Kernel, Profile
from tests.judge.judging import Make, again, said
from tests.judge.test_token_times import host_gaps

# 5 tokens in, 101 out, 0.01 s for each after the first: positions of the windows' middles are 5 + 3 + 16 and 5 + 69 +
# 16
COST = TokenCost(weight_bytes=1000, kv_cache_bytes_per_token=10, flops=1, attention_flops_per_token=0, prefill_flops=1)
PEAKS = DevicePeaks(device="test", bandwidths=((1, 1e6),), flops_per_s=1e12, matrix_dtype="bfloat16", torch="2")
KERNELS = {"gemm": 0.003, "flash_fwd": 0.001, "argmax": 0.0005, "rms_norm": 0.0003, "silu": 0.0002}


def window(first_token: int = 3, kernels: dict[str, float] = KERNELS, gap_s: float = 0.001) -> DeviceWindow:
    return DeviceWindow(
        first_token=first_token,
        tokens=32,
        device_s=sum(kernels.values()),
        pass_s=0.02,
        graph_gap_s=gap_s,
        kernels=tuple(Kernel(name=name, count_per_token=1, s_per_token=one_s) for name, one_s in kernels.items()),
    )


def profiled(before: Judged, *windows: DeviceWindow, **changed: Any) -> Judged:
    start, end = (*windows, None)[:2]
    known = {"token_cost": COST, "device_peaks": PEAKS, "profile": Profile(start=start, end=end)}
    return again(before, **known | changed)


def step_of(found: Judged) -> StepSplit:
    assert found.judgement.step is not None
    return found.judgement.step


def test_a_step_is_split_to_the_exact_second(fake_record: Make) -> None:
    step = step_of(profiled(fake_record([1.5] * 3), window()))
    (split,) = step.windows
    assert split.step_s == pytest.approx(0.01)
    assert split.parts_s == pytest.approx(
        {
            "weights": 1000 / 1e6,
            "cache": 10 * (5 + 3 + 16) / 1e6,
            "matrix": 0.003 - 1000 / 1e6,
            "attention": 0.001 - 10 * 24 / 1e6,
            "sampling": 0.0005,
            "normalisation": 0.0003,
            "other": 0.0002,
            "gap": 0.001,
            "host": 0.01 - 0.005 - 0.001,
        }
    )
    assert sum(step.shares.values()) == pytest.approx(1)
    assert step.host_share == pytest.approx(0.4)
    assert step.device_s_per_token == pytest.approx(0.005)
    assert step.device_tokens_per_s == pytest.approx(1 / 0.006)


def test_the_start_and_the_end_count_alike(fake_record: Make) -> None:
    longer = KERNELS | {"flash_fwd": 0.003}
    step = step_of(profiled(fake_record([1.5] * 3), window(), window(69, longer)))
    assert step.device_s_per_token == pytest.approx(0.006)
    assert step.device_tokens_per_s == pytest.approx(1 / ((0.006 + 0.008) / 2))
    assert step.host_share == pytest.approx((0.004 + 0.002) / 0.02)
    assert step.windows[1].parts_s["cache"] == pytest.approx(10 * (5 + 69 + 16) / 1e6)


def test_a_step_is_measured_where_the_window_was(fake_record: Make) -> None:
    """By the median, at the same positions of the output."""
    before = fake_record([1.5] * 3, token_growth_s=0.0001)
    (one,) = step_of(profiled(before, window(69))).windows
    # of tokens 69 to 100, the median of 0.01 + 0.0001 (5 + token)
    assert one.step_s == pytest.approx(0.01 + 0.0001 * (5 + (69 + 100) / 2))


def test_a_batch_gives_a_token_of_each_sequence(fake_record: Make) -> None:
    step = step_of(profiled(fake_record([1.5] * 3, workload={"batch_size": 4}), window()))
    assert step.device_tokens_per_s == pytest.approx(4 / 0.006)
    assert step.windows[0].parts_s["cache"] == pytest.approx(4 * 10 * 24 / 1e6)


def test_gaps_are_no_longer_than_a_measured_step_leaves_for_them(fake_record: Make) -> None:
    steady = fake_record([1.5] * 3)
    step = step_of(profiled(steady, window(gap_s=0.007)))
    assert step.windows[0].parts_s["gap"] == pytest.approx(0.005)
    assert step.host_share == 0
    assert step.device_tokens_per_s == pytest.approx(100)
    slower = step_of(profiled(steady, window(kernels={"gemm": 0.012})))
    assert slower.windows[0].parts_s["gap"] == 0
    assert slower.device_tokens_per_s == pytest.approx(1 / 0.012)
    assert sum(slower.shares.values()) == pytest.approx(1)


def test_what_runs_at_the_same_time_shares_it(fake_record: Make) -> None:
    """Kernels of 6 ms in 3 ms of the device."""
    both = window(kernels={"gemm": 0.004, "silu": 0.002}).model_copy(update={"device_s": 0.003})
    (split,) = step_of(profiled(fake_record([1.5] * 3), both)).windows
    assert split.parts_s["weights"] + split.parts_s["matrix"] == pytest.approx(0.002)
    assert split.parts_s["other"] == pytest.approx(0.001)


def test_no_part_is_longer_than_its_kernels_and_roofs_need_costs(fake_record: Make) -> None:
    steady = fake_record([1.5] * 3)
    slow = PEAKS.model_copy(update={"bandwidths": ((1, 1e5),)})
    (split,) = step_of(profiled(steady, window(), device_peaks=slow)).windows
    assert split.parts_s["weights"] == pytest.approx(0.003)
    assert split.parts_s["matrix"] == 0
    (bare,) = step_of(profiled(steady, window(), token_cost=None)).windows
    assert bare.parts_s["weights"] == 0
    assert bare.parts_s["matrix"] == pytest.approx(0.003)


def test_without_a_trace_or_a_step_there_is_no_split(fake_record: Make) -> None:
    steady = fake_record([1.5] * 3)
    assert again(steady, profile=Profile(device_busy_share=0.5)).judgement.step is None
    assert profiled(steady, window(101)).judgement.step is None
    assert profiled(steady, window(kernels={}, gap_s=0)).judgement.step is None


@pytest.mark.parametrize(
    ("weights_s", "device_s", "bound_by"),
    [
        (0.001, 0.0049, "host_launch"),  # 5.1 ms wait, more than 3.9 ms beyond the roof
        (0.001, 0.0056, "device"),  # 4.4 ms wait, 4.6 beyond
        (0.0034, 0.0068, "memory"),  # 3.2 wait, 3.4 beyond
        (0.0033, 0.0068, "device"),  # 3.2 wait, 3.5 beyond
        (0.0032, 0.0065, "host_launch"),  # 3.5 wait, 3.3 beyond
        (0.0032, 0.0067, "device"),
        (0.009, 0.01, "memory"),
        (0.001, 0.01, "device"),
    ],
)
def test_the_largest_part_binds(fake_record: Make, weights_s: float, device_s: float, bound_by: str) -> None:
    cost = COST.model_copy(update={"weight_bytes": round(weights_s * 1e6), "kv_cache_bytes_per_token": 0})
    found = profiled(fake_record([1.5] * 3), window(kernels={"gemm": device_s}, gap_s=0), token_cost=cost)
    assert found.judgement.roofline is not None
    assert found.judgement.roofline.bound_by == bound_by
    assert found.judgement.roofline.device_busy_share == pytest.approx(min(1.0, device_s / 0.01))


@pytest.mark.parametrize(("device_s", "bound_by"), [(0.0089, "host_launch"), (0.0091, "device")])
def test_an_engine_that_launches_ahead_is_bound_by_the_host_that_its_device_waits_for(
    fake_record: Make, device_s: float, bound_by: str
) -> None:
    """Of 10 ms the device is busy for most; a faster device would only wait longer."""
    before = fake_record([1.5] * 3)
    assert before.record.loaded is not None
    for ahead, expected in ((True, bound_by), (False, "device"), (None, "device")):
        loaded = before.record.loaded.model_copy(update={"async_scheduling": ahead})
        found = profiled(before, window(kernels={"gemm": device_s}, gap_s=0), loaded=loaded)
        assert found.judgement.roofline is not None
        assert found.judgement.roofline.bound_by == expected


def test_operations_bind_where_they_take_longer_than_bytes(fake_record: Make) -> None:
    cost = COST.model_copy(update={"flops": 9 * 10**9})
    found = profiled(fake_record([1.5] * 3), window(kernels={"gemm": 0.0098}), token_cost=cost)
    assert found.judgement.roofline is not None
    assert found.judgement.roofline.bound_by == "compute"


def test_a_long_prefill_that_is_far_from_its_roof_is_the_devices_where_there_is_one(fake_record: Make) -> None:
    found = profiled(fake_record([10.0] * 3), window())
    assert found.judgement.roofline is not None
    assert found.judgement.roofline.bound_by == "device"


def paced(before: Judged, gaps_s: Any, device_s: float) -> Judged:
    """A record whose tokens come so, and whose device is busy for `device_s` of 10 ms."""
    times_s = [0.5]
    for gap_s in gaps_s:
        times_s.append(times_s[-1] + float(gap_s))
    samples = tuple(
        sample.model_copy(
            update={
                "sequences": (sample.sequences[0].model_copy(update={"token_times_s": tuple(times_s)}),),
                "duration_s": times_s[-1],
            }
        )
        for sample in before.record.samples
    )
    assert before.record.loaded is not None
    loaded = before.record.loaded.model_copy(update={"kv_cache_block_tokens": 16})
    return profiled(before, window(kernels={"gemm": device_s}, gap_s=0), samples=samples, loaded=loaded)


def test_token_times_that_disagree_are_a_note(fake_record: Make) -> None:
    before = fake_record([2.0] * 3)
    device = [0.01 + (0.001 if token % 2 else -0.001) for token in range(400)]
    (finding,) = said(paced(before, device, 0.003), "pace_disagrees")
    assert finding[0] == "note"
    assert finding[1]["host_share"] == pytest.approx((0.01 - 0.003) / 0.01, abs=0.1)
    assert finding[1]["autocorrelation"] < -0.9
    assert said(paced(before, device, 0.009), "pace_disagrees") == []
    (finding,) = said(paced(before, host_gaps(), 0.009), "pace_disagrees")
    assert finding[1]["variant"] == "host"
    assert said(paced(before, host_gaps(), 0.003), "pace_disagrees") == []


@pytest.mark.parametrize("busy", [0.6, 0.79])
def test_token_times_overrule_the_busy_share_of_older_records(fake_record: Make, busy: float) -> None:
    """The profiler makes launches longer, and with them the idle time that it sees."""
    before = fake_record([2.0] * 3)
    device = [0.01 + (0.001 if token % 2 else -0.001) for token in range(400)]
    for gaps, bound_by in ((device, "device"), (host_gaps(), "host_launch")):
        older = again(paced(before, gaps, 0.003), profile=Profile(device_busy_share=busy))
        assert older.judgement.step is None
        assert older.judgement.roofline is not None
        assert older.judgement.roofline.bound_by == bound_by
        assert older.judgement.roofline.device_busy_share == busy


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nvjet_tst_128x8_64x12_4x1_v_bz_TNT", "matrix"),
        ("void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_16x16_128x2_tn_align8>", "matrix"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16, float>", "matrix"),
        ("void marlin::Marlin<1125899906843648l, 256, 1, 8, 8, true, 4>", "matrix"),
        ("void gemv2T_kernel_val<int, int, __nv_bfloat16", "matrix"),
        ("triton_tem_fused_mm_3", "matrix"),
        ("void vllm::moe::topkGatingSoftmax<4, 64", "matrix"),
        ("void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<", "attention"),
        ("void flash::flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<64", "attention"),
        ("void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16", "attention"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel", "attention"),
        ("void flashinfer::BatchDecodeWithPagedKVCacheKernel<", "attention"),
        ("void flashinfer::sampling::TopKTopPSamplingFromProbKernel<1024u", "sampling"),
        ("void at::native::(anonymous namespace)::cunn_SoftMaxForward<8, float", "sampling"),
        ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps<float>", "sampling"),
        ("void at::native::(anonymous namespace)::distribution_elementwise_grid_stride_kernel<float", "sampling"),
        ("_gumbel_sample_kernel", "sampling"),
        ("void vllm::fused_add_rms_norm_kernel<c10::BFloat16", "normalisation"),
        ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0", "normalisation"),
        ("void flashinfer::norm::RMSNormKernel<", "normalisation"),
        ("void vllm::act_and_mul_kernel<c10::BFloat16", "other"),
        ("void vllm::rotary_embedding_kernel<", "other"),
        ("Memcpy DtoH (Device -> Pinned)", "other"),
        ("triton_poi_fused_add_cat_mul_1", "other"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<c10::BFloat16>", "other"),
        ("others", "other"),
    ],
)
def test_kernels_are_known_by_their_names(name: str, part: str) -> None:
    assert kind(name) == part
