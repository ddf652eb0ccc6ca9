"""From evidence to judgement: statistics, rules, verdicts. Pure functions over records."""
