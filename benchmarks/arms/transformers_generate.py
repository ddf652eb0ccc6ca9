"""`generate()` of transformers, which looks for an end of sequence at every step, eager or with its static cache.

It looks for as many ids as the model names, but for such as no token has, so that every request is of one length.
"""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, CompileConfig

from benchmarks.arms.task import answers, read_task, serve


def main() -> None:
    """Load, warm up, answer."""
    task, answer = read_task(), answers()
    device = "cpu" if task.gpu is None else "cuda:0"
    model = AutoModelForCausalLM.from_pretrained(task.folder, dtype="auto", device_map={"": device})
    prompt = torch.tensor([task.prompt], device=device)
    named = model.generation_config.eos_token_id
    count = 0 if named is None else len(named) if isinstance(named, list) else 1
    vocabulary = model.config.get_text_config().vocab_size
    sampled = task.sampling["temperature"] > 0
    arguments: dict[str, Any] = {
        "attention_mask": torch.ones_like(prompt),
        "max_new_tokens": task.generate_length,
        "do_sample": sampled,
        **(task.sampling if sampled else {"repetition_penalty": task.sampling["repetition_penalty"]}),
        **({"eos_token_id": [vocabulary + number for number in range(count)]} if count else {}),
    }
    if task.compile:
        arguments |= {"cache_implementation": "static", "compile_config": compile_config(gpu=task.gpu is not None)}

    def request() -> int:
        torch.manual_seed(task.seed)
        ids = model.generate(prompt, **arguments)
        if task.gpu is not None:
            torch.cuda.synchronize()
        return int(ids.shape[1]) - len(task.prompt)

    serve(request, task, answer)


def compile_config(*, gpu: bool) -> CompileConfig:
    """Transformers' own choice on a GPU; elsewhere it compiles only when told to."""
    if gpu:
        return CompileConfig()
    config = CompileConfig(mode="default")
    config._compile_all_devices = True
    return config


if __name__ == "__main__":
    main()
