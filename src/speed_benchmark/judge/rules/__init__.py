"""The rules: each says what it doubts in a record, as the code and the values of a finding, without a word of text."""

from speed_benchmark.judge.rules import (
    computation,
    counts,
    disturbance,
    hardware,
    pace,
    plausibility,
    precision,
    protocol,
    repeats,
    requests,
    step,
)
from speed_benchmark.judge.rules.rule import Rule, rules_of

# Findings are told in this order of files, and in the order of the rules in each.
RULES: tuple[Rule, ...] = tuple(
    rule
    for file in (
        counts,
        computation,
        protocol,
        requests,
        repeats,
        pace,
        precision,
        plausibility,
        disturbance,
        hardware,
        step,
    )
    for rule in rules_of(file)
)
