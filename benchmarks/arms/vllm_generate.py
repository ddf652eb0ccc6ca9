"""`LLM.generate` of vLLM; its core is in a process of its own unless VLLM_ENABLE_V1_MULTIPROCESSING=0 is set.

Prefix caching is off, as in vLLM's own `bench latency`: the same prompt comes again and again.
"""

from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt

from benchmarks.arms.task import answers, read_task, serve


def main() -> None:
    """Load, warm up, answer."""
    task, answer = read_task(), answers()
    llm = LLM(
        model=task.folder,
        max_model_len=max(1024, task.total_tokens),
        gpu_memory_utilization=task.memory_share,
        enable_prefix_caching=False,
    )
    params = SamplingParams(max_tokens=task.generate_length, ignore_eos=True, **task.sampling)
    prompt = TokensPrompt(prompt_token_ids=list(task.prompt))

    def request() -> int:
        (output,) = llm.generate(prompt, params, use_tqdm=False)
        return len(output.outputs[0].token_ids)

    serve(request, task, answer)


if __name__ == "__main__":
    main()
