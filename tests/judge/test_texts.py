"""The texts of findings: there for every message in every language, and word for word in golden/findings.*.txt.

`python -m tests.judge.test_texts` writes the golden files again.
"""

from pathlib import Path

import pytest

from speed_benchmark.judge.judgement import Finding, FindingValue, Severity
from speed_benchmark.judge.rules import RULES
from speed_benchmark.judge.texts import cure, digits, text
from speed_benchmark.machine.nvml import THROTTLE_REASONS
from speed_benchmark.texts import Language, catalogue
from tests.judge.judging import LANGUAGES, placeholders

GOLDEN = Path(__file__).parent / "golden"
UNKNOWN = "unknown"

COUNTS: dict[str, FindingValue] = {
    "repeat": 2,
    "prompt_tokens": 5,
    "output_tokens": 100,
    "timed_tokens": 99,
    "asked_prompt_tokens": 6,
    "asked_output_tokens": 101,
}
TREND: dict[str, FindingValue] = {"share": 0.0488, "count": 6, "over": "repeats"}
PACES: dict[str, FindingValue] = {
    "fast_tokens_per_s": 54.7,
    "slow_tokens_per_s": 32.6,
    "slow_share": 0.284,
    "dwell_s": 1.41,
}
OUTLIER: dict[str, FindingValue] = {"repeat": 4, "time_s": 2.5, "others_s": 2.00012}
REACHED: dict[str, FindingValue] = {"wanted": 0.001, "share": 0.00384, "count": 8, "over": "repeats", "needed": 15}
# Message id -> values as its rule yields them.
EXAMPLES: dict[str, dict[str, FindingValue]] = {
    "token_counts": COUNTS,
    "token_counts.sequence": COUNTS | {"sequence": 3},
    "token_counts.batch_size": {"repeat": 2, "sequences": 7, "asked_sequences": 8},
    "token_times": {"repeat": 3},
    "missing_repeats": {"process": 1, "repeats": 5.5, "asked_repeats": 6},
    "weight_format": {"promised": "GPTQ-Int4", "loaded": "BF16"},
    "unpacked_weights": {"promised": "FP8", "loaded": "BF16"},
    "prefix_caching": {},
    "cached_prompt": {"repeat": 2, "tokens": 16},
    "faster_when_repeated": {"repeated_s": 0.4, "distinct_s": 0.5, "share": 0.2},
    "not_finite": {},
    "other_answer": {"engine": "sglang"},
    "clocks": {"measured_s": 14.0, "system_s": 21.0},
    "clocks.requests": {"measured_s": 12.0, "system_s": 14.4},
    "no_warmup": {},
    "repeated_requests": {"repeated": 6, "requests": 9},
    "overlapping_requests": {"process": 1, "overlaps": 2, "requests": 7},
    "other_date": {"created_at": "2019-01-02T03:04:05+00:00", "days": 2556.7},
    "slow_first_repeat": {"time_s": 2.0411, "others_s": 2.0, "needed": 2},
    "slow_first_repeat.of_process": {"process": 2, "time_s": 3.0, "others_s": 2.01, "needed": 2},
    "trend.rises": TREND,
    "trend.falls": TREND | {"share": 1.5, "over": "processes"},
    "autocorrelation": {"over": "repeats", "chance": 0.0123, "needed": 3},
    "bimodal": {"fast_count": 4, "fast_s": 2.0025, "slow_count": 4, "slow_s": 12345.678},
    "outlier": OUTLIER,
    "outlier.of_process": OUTLIER | {"process": 2},
    "two_paces": PACES | {"quiet_tokens_per_s": 58.71, "needed": 646},
    "two_paces.averages": PACES | {"quiet_tokens_per_s": 58.71, "needed": 12},
    "two_paces.few": PACES | {"quiet_tokens_per_s": 58.71},
    "two_paces.hardly": PACES | {"hardly": 1, "count": 3},
    "few_repeats.repeats": {"count": 2, "needed": 3},
    "few_repeats.processes": {"count": 2, "needed": 3},
    "wide_interval.repeats": {"share": 0.0502, "needed": 7},
    "wide_interval.processes": {"share": 0.0502, "needed": 7},
    "wide_interval.many": {"share": 0.323, "needed": 652, "over": "repeats"},
    "wide_spread": {"minimum_tokens_per_s": 45.639, "maximum_tokens_per_s": 50.5, "needed": 3},
    "precision_not_reached.repeats": REACHED,
    "precision_not_reached.processes": REACHED | {"over": "processes"},
    "precision_not_reached.many": REACHED | {"needed": 652},
    "precision_not_reached.no_interval": {"wanted": 0.05, "count": 6, "over": "processes"},
    "precision_not_reached.default": REACHED | {"wanted": 0.02, "share": 0.0312, "count": 6},
    "wide_first_token": {"seen_ms": "34.4, 26.1, 23.9"},
    "wide_percentiles": {"seen_ms": "p90 31, 33.4, 19; p99 33.8, 36.7, 31.1"},
    "coarse_energy": {"fine": 1, "count": 3},
    "dependent_part.time_to_first_token": {},
    "dependent_part.decode_rate": {},
    "predicted": {"model_error": 0.005},
    "predicted.host_launch": {},
    "not_predicted": {},
    "above_roofline": {"share": 1.05123},
    "above_roofline.near": {"share": 1.00123},
    "above_roofline.disturbed": {"share": 12.3456},
    "busy_gpu": {"reason": "GPU 0 is 97 % busy"},
    "foreign_process": {"process": "7 game", "gpu": 1},
    "foreign_memory": {"bytes": 2**29},
    "other_load": {"busy_cores": 0.512, "cores": 2, "disturbed": 2, "repeats": 3},
    "host_memory_taken": {"bytes": 2.5 * 2**30},
    "host_memory_short": {"bytes": 251.6 * 2**30},
    "throttled": {"reason": "software power cap"},
    "throttled.held_down": {"reason": "hardware thermal slowdown"},
    "not_profiled": {"reason": "no CUPTI"},
    "other_choice": {"reason": "no such kernel"},
    "forced_choice": {"forced": "no sampler kernels"},
    "shared_host": {"workers": 2, "cores": 4},
    "shared_host.unbound": {"workers": 1},
    "pace_disagrees": {"host_share": 0.612, "autocorrelation": -0.357},
    "pace_disagrees.host": {"host_share": 0.108, "autocorrelation": 0.412},
}
# Name of a value -> the strings that are words.
WORDS = {"over": ("repeats", "processes"), "reason": tuple(THROTTLE_REASONS.values())}


def finding(message: str, values: dict[str, FindingValue]) -> Finding:
    """The finding whose text is `message`."""
    code, _, variant = message.partition(".")
    return Finding(code=code, severity=Severity.NOTE, values=values | ({"variant": variant} if variant else {}))


def rendered(language: Language) -> str:
    """All messages with their example values, then the words."""
    lines = []
    for message, values in EXAMPLES.items():
        one = finding(message, values)
        lines += [message, f"  {text(one, language)}", f"  {cure(one, language)}"]
    for reason in THROTTLE_REASONS.values():
        lines.append(f"throttled\n  {text(finding('throttled', {'reason': reason}), language)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_texts_are_the_golden_ones(language: Language) -> None:
    assert rendered(language) == (GOLDEN / f"findings.{language}.txt").read_text(encoding="utf-8")


def test_every_message_has_an_example() -> None:
    assert list(EXAMPLES) == [message for rule in RULES for message in rule.message_ids]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_has_a_text_and_a_cure_and_none_is_unused(language: Language) -> None:
    words = {f"value.{name}.{word}" for name, known in WORDS.items() for word in known}
    messages = {message + kind for message in (*EXAMPLES, UNKNOWN) for kind in ("", ".cure")}
    assert set(catalogue(language, "findings")) == messages | words
    assert all(catalogue(language, "findings").values())


def test_the_languages_name_the_same_values() -> None:
    english, chinese = (catalogue(language, "findings") for language in LANGUAGES)
    for message in english:
        assert placeholders(english[message]) == placeholders(chinese[message]), message


def test_the_texts_name_values_that_their_rules_yield() -> None:
    """And each value is in the text or the cure, but for the one that chooses between texts."""
    for message, values in EXAMPLES.items():
        named = placeholders(catalogue("en", "findings")[message])
        assert named | placeholders(catalogue("en", "findings")[f"{message}.cure"]) == values.keys(), message


def test_no_chinese_text_is_left_in_english() -> None:
    english, chinese = (catalogue(language, "findings") for language in LANGUAGES)
    same = {message for message in english if english[message] == chinese[message]}
    # a flag, or nothing but a value
    assert all(english[message].startswith(("--", "{")) for message in same)


def test_each_code_is_of_one_rule() -> None:
    codes = [rule.code for rule in RULES]
    assert len(codes) == len(set(codes))
    assert not {code for code in codes if "." in code} | {UNKNOWN, "value"} & set(codes)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "from_later ()"),
        ({"share": 0.5, "variant": "new"}, "from_later (share=0.5, variant=new)"),
        ({"reason": "{code} {0} {"}, "from_later (reason={code} {0} {)"),
    ],
)
def test_a_finding_of_another_version_is_its_code_and_values(values: dict[str, FindingValue], told: str) -> None:
    later = Finding(code="from_later", severity=Severity.NOTE, values=values)
    assert text(later, "en") == told
    assert cure(later, "en") == catalogue("en", "findings")["unknown.cure"]
    assert text(later, "zh").startswith("from_later（")


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("trend", {"share": 0.5}),
        ("trend", {"variant": "sideways", "share": 0.5}),
        ("trend", {"variant": "rises", "share": 0.5}),
        ("trend", {"variant": "rises", "share": "much", "count": 1, "over": "repeats"}),
        ("trend", {"variant": "rises", "share": 10**400, "count": 1, "over": "repeats"}),
        ("token_counts.sequence", {}),
        (UNKNOWN, {}),
        ("value.over.repeats", {}),
    ],
)
def test_other_values_of_a_known_code_are_told_and_break_nothing(code: str, values: dict[str, FindingValue]) -> None:
    other = Finding(code=code, severity=Severity.NOTE, values=values)
    told = ", ".join(f"{name}={value}" for name, value in values.items())
    assert text(other, "en") == f"{code} ({told})"
    assert cure(other, "en")


def test_strings_of_a_record_stand_for_themselves() -> None:
    named = finding("foreign_process", {"process": "{gpu} repeats", "gpu": 1})
    assert text(named, "en") == "process {gpu} repeats was on GPU 1 during the repeats"


@pytest.mark.parametrize(
    ("value", "count", "told"),
    [
        (0.0488 * 100, 2, "4.9"),
        (100.0, 2, "100"),
        (123.4, 2, "120"),
        (12345.678, 4, "12350"),
        (1e-7, 2, "0.0000001"),
        (1234567.0, 2, "1200000"),
        (0.0, 2, "0"),
        (2.0, 4, "2"),
        (-0.05, 2, "-0.05"),
    ],
)
def test_numbers_have_no_exponent(value: float, count: int, told: str) -> None:
    assert digits(value, count) == told


if __name__ == "__main__":
    for each in LANGUAGES:
        (GOLDEN / f"findings.{each}.txt").write_text(rendered(each), encoding="utf-8")
