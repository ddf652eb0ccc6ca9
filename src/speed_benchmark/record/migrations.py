"""Records of older schemas, one step at a time: MIGRATIONS[n] makes the content of schema n + 1 from that of n.

Schema 1 (to version 0.2.0): evidence and judgement in one, both hashed; one sequence a request.
Schema 2: evidence alone is hashed; a request is a batch of sequences; an engine's own options stand apart.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

Content = dict[str, Any]

_ID_1 = re.compile(rb'"record_id":"(sha256:[0-9a-f]{64})",')
_JUDGEMENT_1 = ("findings", "roofline", "summary", "verdict")
_SEQUENCE_1 = ("token_times_s", "prompt_tokens", "output_tokens", "output_digest", "first_token_ids")
_COMMON_SETTINGS_1 = ("engine", "gpu_count", "dtype")
# The profiler of version 0.1.0 stayed attached and slowed down what was measured later in the same process.
_MEASUREMENT_1 = {"0.1.0": 0}


def migrate(content: Content) -> Content:
    """The content of the newest schema. Raises KeyError, TypeError or ValueError for what is not of its schema."""
    while (step := MIGRATIONS.get(content["schema_version"])) is not None:
        content = step(content)
    return content


def is_unchanged(version: int, content: bytes) -> bool:
    """Whether the bytes of a file of an older schema are those that its id was made from."""
    if version != 1:
        return False
    found = _ID_1.search(content)
    if found is None:
        return False
    rest = content[: found.start()] + content[found.end() : -1]
    return found[1].decode() == "sha256:" + hashlib.sha256(rest).hexdigest()


def _from_1(content: Content) -> Content:
    kept = {key: value for key, value in content.items() if key not in (*_JUDGEMENT_1, "record_id")}
    settings = kept["cell"]["settings"]
    own = {key: value for key, value in settings.items() if key not in _COMMON_SETTINGS_1}
    common = {key: value for key, value in settings.items() if key in _COMMON_SETTINGS_1}
    provenance = kept["provenance"]
    renamed = {"work": "token_cost", "rates": "device_peaks", "share": "colocation"}
    kept = {renamed.get(key, key): value for key, value in kept.items()}
    outcome, cause = _outcome_from_1(kept["outcome"], kept.get("cause"))
    return {
        **kept,
        "schema_version": 2,
        "earlier_id": content["record_id"],
        "cell": {**kept["cell"], "settings": {**common, "options": own}},
        "outcome": outcome,
        "cause": cause,
        "loaded": _loaded_from_1(kept.get("loaded")),
        "warmups": [_sample_from_1(sample) for sample in kept.get("warmups", ())],
        "samples": [_sample_from_1(sample) for sample in kept.get("samples", ())],
        "provenance": {**provenance, "measurement_version": _MEASUREMENT_1.get(provenance["tool_version"], 1)},
    }


def _sample_from_1(sample: Content) -> Content:
    sequence = {key: sample[key] for key in _SEQUENCE_1 if key in sample}
    return {**{key: value for key, value in sample.items() if key not in _SEQUENCE_1}, "sequences": [sequence]}


def _loaded_from_1(loaded: Content | None) -> Content | None:
    """The only engine of its time that took its cache in advance kept one block of it to itself."""
    if loaded is None or loaded.get("kv_cache_allocated_bytes") is None:
        return loaded
    return {**loaded, "preallocates": True, "kv_cache_spare_blocks": 1, "max_sequences": 1}


def _outcome_from_1(outcome: str, cause: Content | None) -> tuple[str, Content | None]:
    """`invalid` was a judgement, unless the sweep was interrupted; what was not run counted as out of memory."""
    kind = cause.get("kind") if cause else None
    rest = {key: value for key, value in cause.items() if key != "kind"} if cause else None
    if kind == "interrupted":
        return "interrupted", rest
    if kind is not None and rest is not None:
        return "skipped", {**rest, "kind": {"predicted": "cannot_fit"}.get(kind, kind)}
    return ("ok" if outcome == "invalid" else outcome), cause


MIGRATIONS: dict[int, Callable[[Content], Content]] = {1: _from_1}
