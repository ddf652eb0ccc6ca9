"""Small models of many families: a line each, with what is special to it beside what all have."""

import json
from typing import Any

SMALL: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
_EXPERTS: dict[str, Any] = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
_LATENT: dict[str, Any] = {
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}
_DEEPSEEK: dict[str, Any] = {
    **_EXPERTS,
    **_LATENT,
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_key_value_heads": 4,
    "head_dim": 8,
}
_DELTA: dict[str, Any] = {f"linear_num_{part}_heads": 2 for part in ("key", "value")} | {
    f"linear_{part}_head_dim": 16 for part in ("key", "value")
}
_MAMBA: dict[str, Any] = {
    "mamba_d_state": 16,
    "mamba_d_head": 16,
    "mamba_n_heads": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "gemma": {},
    "gemma2": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "phi3": {},
    "olmo2": {},
    "olmo3": {"sliding_window": 8},
    "granite": {},
    "smollm3": {},
    "starcoder2": {"use_bias": True},
    "cohere2": {"sliding_window": 8, "tie_word_embeddings": True},
    "exaone4": {"sliding_window": 8},
    "glm4": {},
    "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4, "tie_word_embeddings": True},
    "gpt_neox": {},
    "falcon": {"multi_query": True},
    "bitnet": {},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2_moe": {**_EXPERTS, "num_experts": 8, "shared_expert_intermediate_size": 48},
    "qwen3_moe": {**_EXPERTS, "num_experts": 8},
    "olmoe": {"num_experts": 8, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 8},
    "glm4_moe": {**_EXPERTS, "n_routed_experts": 8, "first_k_dense_replace": 1},
    "llama4_text": {"num_local_experts": 4, "intermediate_size_mlp": 96},
    "ernie4_5_moe": {"moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 32},
    "deepseek_v2": {**_DEEPSEEK, "topk_method": "greedy"},
    "deepseek_v3": {**_DEEPSEEK, "first_k_dense_replace": 1},
    "qwen3_next": {**_EXPERTS, **_DELTA, "num_experts": 8, "shared_expert_intermediate_size": 32},
    "qwen3_5_text": _DELTA,
    "jamba": {"num_experts": 4, "num_experts_per_tok": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "granitemoehybrid": {
        **_MAMBA,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 32,
        "layer_types": ["mamba", "attention"] * 2,
    },
    "falcon_mamba": {"state_size": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
}


def config_of(model_type: str) -> dict[str, Any]:
    """The config.json of a small model of a family, as transformers writes it."""
    from transformers import CONFIG_MAPPING

    own = CONFIG_MAPPING[model_type]
    known = json.loads(own().to_json_string(use_diff=False))
    config = own(**{key: value for key, value in SMALL.items() if key in known} | FAMILIES[model_type])
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return found | {"dtype": "bfloat16", "architectures": None}
