"""The quiet pace and two paces: found where they are, in records that chose no constant, and hardly where not."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from speed_benchmark.judge.judge import judged
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.judge.pace import BLOCK_TOKENS, LEAST_BLOCKS, paces, quiet_gap_s, quiet_tokens_per_s
from speed_benchmark.record.folder import read
from speed_benchmark.record.sample import Sample
from speed_benchmark.record.sample import Sequence as Tokens
from tests.judge.judging import checked, said
from tests.report.made import placed, record

RESULTS = Path(__file__).parents[2] / "results"
Gaps = NDArray[np.floating]


def request(gaps_s: Sequence[float] | Gaps, first_s: float = 0.1, sequences: int = 1) -> Sample:
    times_s = tuple(float(time_s) for time_s in np.cumsum([first_s, *gaps_s]))
    tokens = Tokens(token_times_s=times_s, prompt_tokens=6, output_tokens=len(times_s), output_digest="sha256:0")
    return Sample(started_at_unix_s=1e9, duration_s=times_s[-1], sequences=(tokens,) * sequences)


def spells(slow: Sequence[int], fast_s: float = 0.01, slow_s: float = 0.015, blocks: int = 40) -> Gaps:
    """The gaps of a request whose blocks `slow` are at the slow pace."""
    pace_s = np.where(np.isin(np.arange(blocks), slow), slow_s, fast_s)
    return np.repeat(pace_s, BLOCK_TOKENS)


def measured(*requests: Sample) -> Judged:
    made = record(((0.1, 0.01),) * len(requests), tokens=len(requests[0].sequences[0].token_times_s))
    return checked(placed(made.model_copy(update={"samples": requests})))


def quiet_speed(requests: list[Sample]) -> float | None:
    return quiet_tokens_per_s(requests, [quiet_gap_s(one) for one in requests])


def test_two_paces_to_the_exact_figure() -> None:
    """Two spells of 5 and 3 blocks of 40: 8 of 40 blocks at 1.5 times the time."""
    found = paces([request(spells([10, 11, 12, 13, 14, 30, 31, 32]))])
    assert found is not None
    assert (found.fast_s, found.slow_s) == pytest.approx((0.01, 0.015))
    assert found.slow_share == pytest.approx(8 * 1.5 / (8 * 1.5 + 32))
    assert found.dwell_s == pytest.approx(4 * BLOCK_TOKENS * 0.015)


def test_the_share_is_that_of_all_repeats() -> None:
    quiet, slow = request(spells([])), request(spells(range(20)))
    found = paces([request(spells([10, 11, 12, 13])), quiet, slow])
    assert found is not None
    assert found.slow_share == pytest.approx(24 * 1.5 / (24 * 1.5 + 96))


@pytest.mark.parametrize(
    ("slow", "slow_s", "two"),
    [
        ([10, 11, 12, 20, 21, 22], 0.015, True),
        ([10, 11, 12], 0.015, True),
        ([10, 11], 0.015, False),  # too few blocks
        ([10, 11, 12, 20, 21, 22], 0.0116, True),
        ([10, 11, 12, 20, 21, 22], 0.0114, False),  # too near
        (range(20, 40), 0.015, False),  # never left again: that may come with the length
        (range(20), 0.015, False),
        (range(0, 40, 2), 0.015, False),  # not in spells
    ],
)
def test_what_two_paces_are(slow: Sequence[int], slow_s: float, two: bool) -> None:
    assert (paces([request(spells(slow, slow_s=slow_s))]) is not None) is two


def test_single_stalls_are_no_pace() -> None:
    gaps_s = spells([])
    gaps_s[100::160] = 0.5
    assert paces([request(gaps_s)]) is None
    assert quiet_gap_s(request(gaps_s)) == pytest.approx(0.01)


def test_decoding_that_slows_with_the_position_is_one_pace() -> None:
    """A line is no second pace, and the quiet pace is that of the middle of the output."""
    line_s = np.linspace(0.01, 0.02, 40 * BLOCK_TOKENS)
    assert paces([request(line_s)]) is None
    assert quiet_gap_s(request(line_s)) == pytest.approx(0.015, rel=1e-3)
    both = paces(
        [request(line_s * np.repeat(np.where(np.isin(np.arange(40), [10, 11, 12, 30, 31]), 1.5, 1), BLOCK_TOKENS))]
    )
    assert both is not None
    assert both.fast_s == pytest.approx(0.015, rel=0.02)


def test_the_quiet_pace_is_a_tenth_of_the_blocks() -> None:
    assert quiet_gap_s(request(spells(range(4, 40)))) == pytest.approx(0.015, rel=0.05)
    assert quiet_gap_s(request(spells(range(8, 40)))) == pytest.approx(0.01, rel=0.05)
    enough = LEAST_BLOCKS * BLOCK_TOKENS
    assert quiet_gap_s(request([0.01] * enough)) == pytest.approx(0.01)
    assert quiet_gap_s(request([0.01] * (enough - 1))) is None
    batch = request([0.01] * enough, sequences=4)
    assert quiet_speed([batch, batch]) == pytest.approx(400)
    assert quiet_speed([batch, request([0.01] * 5)]) is None
    assert quiet_speed([]) is None


def lognormal(random: np.random.Generator, count: int, spread: float) -> Gaps:
    return np.exp(spread * random.standard_normal(count))


KINDS: dict[str, Callable[[np.random.Generator, int, float], Gaps]] = {
    "normal": lambda random, count, spread: np.maximum(1 + spread * random.standard_normal(count), 0.05),
    "lognormal": lognormal,
    "slope": lambda random, count, spread: np.linspace(1, 2, count) * lognormal(random, count, spread),
    "stalls": lambda random, count, spread: (
        lognormal(random, count, spread) * np.where(random.random(count) < 0.01, 20, 1)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_pace_looks_like_two_in_fewer_than_1_of_200_requests(kind: str) -> None:
    random, found, tried = np.random.default_rng(11), 0, 0
    for tokens in (208, 512, 2048):
        for spread in (0.02, 0.3, 0.6):
            for _ in range(200):
                found += paces([request(KINDS[kind](random, tokens, spread))]) is not None
                tried += 1
    assert found / tried < 1 / 200


@pytest.mark.slow
def test_spells_are_found_in_noise() -> None:
    """Of a host that is slow for a third of the time in spells of 6 blocks, 1.4 times slower, 9 requests of 10."""
    random, found = np.random.default_rng(12), 0
    for _ in range(100):
        state, blocks = bool(random.random() < 1 / 3), list[bool]()
        while len(blocks) < 128:
            blocks += [state] * (1 + random.geometric(1 / (6 if state else 12)))
            state = not state
        pace_s = np.repeat(np.where(blocks[:128], 1.4, 1.0), BLOCK_TOKENS)
        found += paces([request(pace_s * lognormal(random, len(pace_s), 0.1))]) is not None
    assert found >= 90


def in_results(folder: str) -> list[Judged]:
    return [judged(read(file)) for file in sorted((RESULTS / folder).glob("*.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["nvidia-h200-slow-host", "nvidia-h200-compiled", "nvidia-h100-batch"])
def test_in_records_that_chose_no_constant(folder: str) -> None:
    """What the device paces goes at one pace; on the slow host all that the host paces goes at two."""
    for found in in_results(folder):
        bound = found.judgement.roofline.bound_by if found.judgement.roofline else None
        if bound in ("memory", "compute", "device"):
            assert found.judgement.paces is None
        elif "slow-host" in folder:
            assert found.judgement.paces is not None
            assert 1.15 < found.judgement.paces.slow_s / found.judgement.paces.fast_s < 1.75


NAMES = {"fast_tokens_per_s", "slow_tokens_per_s", "slow_share", "dwell_s", "quiet_tokens_per_s"}
SPELLS = ([10, 11, 12, 13], [5, 6, 7, 20, 21, 22], [10, 11, 12, 30])


def test_two_paces_are_a_note_where_an_interval_covers_them() -> None:
    found = measured(*(request(spells(slow)) for slow in SPELLS))
    ((severity, values),) = said(found, "two_paces")
    assert (severity, values["variant"]) == ("note", "averages")
    assert values.keys() == NAMES | {"variant", "needed"}
    assert (values["fast_tokens_per_s"], values["slow_tokens_per_s"]) == pytest.approx((100, 1 / 0.015))
    assert found.judgement.quiet_tokens_per_s == pytest.approx(values["quiet_tokens_per_s"])
    assert found.judgement.paces is not None
    assert found.judgement.paces.slow_share == values["slow_share"]


def test_two_paces_are_doubtful_where_nothing_covers_them_and_they_move_the_mean() -> None:
    found = measured(
        *(request(spells(slow)) for slow in ([10, 11, 12, 13, 14, 15, 16, 17, 30, 31, 32], [5, 6, 7, 8, 9, 10]))
    )
    ((severity, values),) = said(found, "two_paces")
    assert (severity, values["variant"]) == ("doubtful", "few")
    little = measured(*(request(spells(slow)) for slow in ([10, 11, 12], [5, 6, 7])))
    ((severity, _),) = said(little, "two_paces")
    assert severity == "note"


def test_the_cure_says_how_many_repeats_it_would_take() -> None:
    many = measured(*(request(spells(slow)) for slow in (range(2, 30), [5, 6, 7], range(10, 20))))
    ((_, values),) = said(many, "two_paces")
    assert values["variant"] == ""
    assert values["needed"] > 100


def test_where_the_fast_pace_is_hardly_visited_the_quiet_one_is_not_known() -> None:
    found = measured(request(spells([10, 11, 12, 13])), request(spells(range(1, 40))), request(spells([5, 6, 7])))
    ((_, values),) = said(found, "two_paces")
    assert (values["variant"], values["hardly"], values["count"]) == ("hardly", 1, 3)
