"""The row that the Qwen2.5 scripts wrote, column for column, and the verdict after it."""

from speed_benchmark.record.record import Outcome, Record


def row(record: Record) -> dict[str, object]:
    """Column -> value as the script of the record's engine wrote them; empty where there is no speed."""
    summary = record.summary
    if summary is None or record.outcome not in (Outcome.OK, Outcome.INVALID):
        return {}
    cell = record.cell
    if cell.settings.engine == "vllm":
        columns: dict[str, object] = {
            "Model ID": cell.model.model_id_or_path,
            "Input Length": cell.workload.context_length,
            "Output Length": cell.workload.generate_length,
            "TP Size": max(1, cell.settings.gpu_count),
            "Average Time (s)": round(summary.duration_s.mean, 4),
            "Average Throughput (tokens/s)": round(summary.generation_tokens_per_s.mean, 4),
        }
    else:
        peak = summary.memory.allocator_peak_allocated_bytes
        columns = {
            "model_id_or_path": cell.model.model_id_or_path,
            "batch_size": 1,
            "context_length_per_experiment": cell.workload.context_length,
            "generate_length_per_experiment": cell.workload.generate_length,
            "use_flash_attn": bool(record.loaded and record.loaded.attention_implementation == "flash_attention_2"),
            "comment": "default",
            "tokens_per_second": round(summary.generation_tokens_per_s.mean, 4),
            "max_gpu_memory_cost_gb": round((peak or 0) / 2**30, 4),
        }
    return columns | {"verdict": str(record.verdict)}
