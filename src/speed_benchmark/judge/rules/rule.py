"""What a rule is: a function that yields the values of a finding for each reason to doubt that it sees."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from speed_benchmark.judge.judgement import Finding, FindingValue, QuantityName, Severity
from speed_benchmark.judge.seen import Seen

Values = Mapping[str, FindingValue]
Found = Iterator[Values | tuple[Severity, Values]]
Check = Callable[[Seen], Found]

# What depends on the pace of the machine: all but the memory.
PACED: tuple[QuantityName, ...] = ("speed", "time_to_first_token", "percentiles", "energy")
# What goes with the time of a whole request: the energy of one does too.
WHOLE: tuple[QuantityName, ...] = ("speed", "energy")


@dataclass(frozen=True)
class Rule:
    """The code of some findings, and the check that yields their values.

    `severity` is that of findings of which the check yields none. `variants` are the texts that the code has, the plain
    one being the empty string. `quantities` are those that it speaks of, none where it speaks of all.
    """

    code: str
    severity: Severity
    variants: tuple[str, ...]
    check: Check
    quantities: tuple[QuantityName, ...] = ()

    def findings(self, seen: Seen) -> Iterator[Finding]:
        """What the rule finds in `seen`."""
        for found in self.check(seen):
            severity, values = found if isinstance(found, tuple) else (self.severity, found)
            yield Finding(code=self.code, severity=severity, values=dict(values), quantities=self.quantities)

    @property
    def message_ids(self) -> tuple[str, ...]:
        """The ids of the texts that its findings can have."""
        return tuple(f"{self.code}.{variant}" if variant else self.code for variant in self.variants)


def rule(
    code: str, severity: Severity, variants: tuple[str, ...] = ("",), of: tuple[QuantityName, ...] = ()
) -> Callable[[Check], Rule]:
    """Make a `Rule` of the check below it, about the quantities `of`; the rules of a file are told in its order."""
    return lambda check: Rule(code=code, severity=severity, variants=variants, check=check, quantities=of)


def rules_of(file: ModuleType) -> tuple[Rule, ...]:
    """The rules that `file` defines, in its order."""
    return tuple(value for value in vars(file).values() if isinstance(value, Rule))
