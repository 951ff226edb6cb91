"""The model of a host: what it finds, what it ignores, and that it never looks ahead."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.api import PredisError
from plugins.anomaly.multivariate.evaluation import evaluate, scores
from plugins.anomaly.multivariate.model import HostModel, Residual, Settings, with_pace
from plugins.anomaly.multivariate.tail import ScoreTail

Rows = NDArray[np.float64]
METRICS = 12
QUICK = Settings(mature=1500, memory=15_000, recent=200)


def host(rows: int, noise: float = 0.1, seed: int = 1) -> Rows:
    """A machine whose metrics follow one load, each in a unit of its own, with noise; the last one never moves."""
    chance = np.random.default_rng(seed)
    load = 1 + 0.6 * np.sin(np.arange(rows) / 40) + 0.1 * chance.normal(size=rows)
    units = 10.0 ** np.arange(-3, METRICS - 3)
    values = (load[:, None] + noise * chance.normal(size=(rows, METRICS))) * units
    values[:, -1] = 64e9
    return values


def learnt(values: Rows) -> HostModel:
    model = HostModel(values.shape[1], QUICK)
    for row in values:
        model.update(row)
    return model


def judged(model: HostModel, values: Rows) -> list[Residual]:
    return [model.update(row, float(time)) for time, row in enumerate(values)]


def test_metrics_that_leave_the_others_are_found_though_their_values_are_nothing_new() -> None:
    values = host(3300, noise=0.02)
    odd = values[3000:3030].copy()
    # Where the load is low, three metrics are as high as at its peak, and the other way round.
    odd[:, 3:6] = np.where(values[3000:3030, 3:6] > values[:3000, 3:6].mean(axis=0), 0.5, 1.5) * 10.0 ** np.arange(3)

    found = judged(learnt(values[:3000]), odd)[-1]

    assert found.p_value < 0.02
    assert {contribution.metric for contribution in found.top[:3]} == {3, 4, 5}
    assert sum(contribution.share for contribution in found.top[:3]) > 0.5
    for contribution in found.top[:3]:
        metric = contribution.metric
        assert contribution.value == odd[-1, metric]
        assert values[:3000, metric].min() < contribution.value < values[:3000, metric].max()


def test_a_load_that_all_metrics_share_counts_less_than_the_same_moves_apart() -> None:
    values = host(3300)
    usual = judged(learnt(values[:3000]), values[3000:3030])[-1].score
    busy = values[3000:3030] * 1.5
    busy[:, -1] = 64e9
    together = judged(learnt(values[:3000]), busy)[-1].score
    mixed = values[3000:3030].copy()
    mixed[:, ::2] *= 1.5
    mixed[:, 1::2] /= 1.5
    mixed[:, -1] = 64e9
    apart = judged(learnt(values[:3000]), mixed)[-1].score
    assert apart - usual > 2 * (together - usual)


def test_a_metric_that_never_moved_is_found_when_it_moves() -> None:
    values = host(3100)
    model = learnt(values[:3000])
    values[3000:, -1] = 48e9
    found = judged(model, values[3000:3015])[-1]
    assert found.p_value < 0.01
    assert found.top[0].metric == METRICS - 1


def test_what_stays_becomes_the_level_of_today_but_not_the_norm_at_once() -> None:
    values = host(4800)
    values[3000:, 5] *= 1.8
    model = learnt(values[:3000])
    later = [result.score for result in judged(model, values[3000:])]
    first, last = float(np.mean(later[60:160])), float(np.mean(later[-100:]))
    usual = float(np.mean([result.score for result in judged(learnt(host(4800)[:3000]), host(4800)[3000:3200])]))
    assert usual < last < first


def test_nothing_is_judged_before_anything_is_known() -> None:
    results = judged(HostModel(METRICS, QUICK), host(100))
    assert {result.p_value for result in results[:60]} == {1.0}
    assert {result.score for result in results[:60]} == {0.0}
    assert results[-1].score > 0


def test_low_p_values_of_usual_rows_are_as_rare_as_they_say() -> None:
    values = host(6000)
    results = judged(learnt(values[:3000]), values[3000:])
    for level in (0.2, 0.05):
        share = float(np.mean([result.p_value <= level for result in results]))
        assert level / 6 < share < level * 1.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_values_spoil_nothing(bad: float) -> None:
    values = host(3400)
    clean, dirty = learnt(values[:3000]), learnt(values[:3000])
    spoilt = values[3000:3200].copy()
    spoilt[7, 2] = spoilt[90, :] = bad
    judged(clean, values[3000:3200])
    assert np.isfinite([result.score for result in judged(dirty, spoilt)]).all()
    after = [result.score for result in judged(dirty, values[3200:])][-50:]
    before = [result.score for result in judged(clean, values[3200:])][-50:]
    assert np.allclose(after, before, rtol=0.5)


@pytest.mark.parametrize("far", [1e99, 1e100, 1e308, np.inf, -1e308, -np.inf])
def test_what_is_beyond_all_reason_is_as_odd_as_can_be(far: float) -> None:
    values = host(3100)
    model, same, missing = learnt(values[:3000]), learnt(values[:3000]), learnt(values[:3000])
    odd, huge, none = (values[3000:3010].copy() for _ in range(3))
    odd[4:, 2], huge[4:, 2], none[4:, 2] = far, np.copysign(1e30, far), np.nan
    found, expected, without = judged(model, odd), judged(same, huge), judged(missing, none)
    assert [result.score for result in found] == [result.score for result in expected]
    assert found[4].score > 1.2 * without[4].score
    assert found[4].top[0].metric == 2
    assert np.isfinite(found[4].top[0].value)


def test_absurd_values_are_not_learnt_as_a_range() -> None:
    """Two of them are more than a slip, which the second highest of a block would leave out."""
    values = host(3200)
    clean, dirty = learnt(values[:3000]), learnt(values[:3000])
    spoilt = values[3000:3060].copy()
    spoilt[10:14, 2] = np.inf
    judged(clean, values[3000:3060])
    judged(dirty, spoilt)
    odd = values[3100:3200].copy()
    odd[:, 2] *= 4
    assert judged(dirty, odd)[-1].score == pytest.approx(judged(clean, odd)[-1].score, rel=0.1)


@pytest.mark.parametrize("part", [0.5, 1e-3, 1e-30, 1e-200])
def test_normalised_metrics_have_the_same_scores_in_any_part_of_the_range(part: float) -> None:
    values = np.clip(host(1200)[:, :6] / 10.0 ** np.arange(-3, 3) / 2.5, 0, 1)
    values[0, 0] = 1.0
    values[:, 5] = 0.0  # a metric that never moved has no scale of its own
    values[900:920, [3, 5]] += 0.5
    whole = scores(values[:800], values[800:])
    np.testing.assert_allclose(scores(values[:800] * part, values[800:] * part), whole, rtol=1e-6)
    assert whole[100:120].max() > 3 * np.median(whole)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(width=64), min_size=3, max_size=3), min_size=1, max_size=150))
def test_any_rows_give_finite_scores_and_p_values(rows: list[list[float]]) -> None:
    model = HostModel(3, Settings(block=10))
    with np.errstate(over="ignore", invalid="ignore"):
        for row in rows:
            result = model.update(row)
            assert np.isfinite(result.score)
            assert 0 < result.p_value <= 1


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 3 values"):
        HostModel(3).update([1.0, 2.0])


def test_a_saved_model_goes_on_as_if_nothing_had_been() -> None:
    values = host(3300)
    model = learnt(values[:3034])  # in the middle of a block
    file = io.BytesIO()
    np.savez(file, **model.save())  # type: ignore[arg-type]  # numpy's stub takes a flag for a possible array
    file.seek(0)
    again = HostModel.load(np.load(file), QUICK)
    assert judged(again, values[3034:]) == judged(model, values[3034:])


def test_a_state_of_another_form_is_refused() -> None:
    state = learnt(host(200)).save()
    with pytest.raises(ValueError, match="no state of a host model"):
        HostModel.load({**state, "mean": np.zeros(3)}, QUICK)
    with pytest.raises(ValueError, match="no state of a host model"):
        HostModel.load({"rows": state["rows"]}, QUICK)


def test_the_state_does_not_grow() -> None:
    values = host(700)
    model = learnt(values[:100])
    size = model.state_bytes
    judged(model, values[100:])
    assert model.state_bytes == size


def test_metrics_come_and_go_and_the_others_stay_known() -> None:
    values = host(3300)
    model = learnt(values[:3000])
    fewer = model.selected([0, 1, None, 4])
    rows = np.column_stack([values[:, 0], values[:, 1], np.full(3300, 7.0), values[:, 4]])
    results = judged(fewer, rows[3000:3060])
    assert max(result.score for result in results) < 3
    assert {c.metric for result in results for c in result.top} <= {0, 1, 3}  # the new one is only learnt
    odd = rows[3060:3065].copy()
    odd[:, 3] *= 3
    assert judged(fewer, odd)[-1].top[0].metric == 3
    assert model.metrics == METRICS


def test_a_known_least_scale_makes_small_moves_small() -> None:
    values = np.column_stack([np.full(400, 0.5), host(400)[:, 0]])
    values[300:, 0] = 0.501
    found = []
    for least in (np.zeros(2), np.array([0.01, 0.0])):
        model = HostModel(2, least=least)
        judged(model, values[:300])
        found.append(max(result.score for result in judged(model, values[300:])))
    assert found[1] < 0.7 * found[0]


def test_a_score_needs_no_later_row() -> None:
    values = host(900)
    values[700:720, 2] *= 3
    whole = scores(values[:400], values[400:])
    for rows in (1, 59, 60, 61, 333):
        assert np.array_equal(scores(values[:400], values[400 : 400 + rows]), whole[:rows])


def test_lengths_of_time_do_not_depend_on_the_pace_of_rows() -> None:
    assert with_pace(Settings(), 60) == Settings()
    assert with_pace(Settings(), 10).smoothing == (18, 60, 360)
    assert with_pace(Settings(), 10).recent == 6 * 1440


def test_the_evaluation_writes_a_score_per_test_row_and_reads_no_label(tmp_path: Path) -> None:
    values = host(500)
    source, target = tmp_path / "machine.npz", tmp_path / "scores.csv"
    np.savez(source, train=values[:400], test=values[400:], label="not read")
    evaluate(source, target)
    lines = target.read_text().splitlines()
    assert lines[0] == "score"
    assert np.allclose(np.array(lines[1:], float), scores(values[:400], values[400:]))


def test_the_evaluation_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    source = tmp_path / "machine.npz"
    np.savez(source, train=np.zeros((5, 3)), test=np.zeros((5, 4)))
    with pytest.raises(PredisError, match="the same metrics"):
        evaluate(source, tmp_path / "out.csv")
    for junk in (b"", b"no archive"):
        source.write_bytes(junk)
        with pytest.raises(PredisError, match=r"machine\.npz is no \.npz with the arrays train and test"):
            evaluate(source, tmp_path / "out.csv")


def test_beyond_what_was_seen_a_score_is_the_rarer_the_higher() -> None:
    tail = ScoreTail(memory=10_000)
    for score in np.random.default_rng(2).lognormal(size=5000):
        tail.add(float(score))
    values = [tail.p_value(score) for score in (0.5, 1, 3, 10, 30, 100, 1e3)]
    assert values == sorted(values, reverse=True)
    assert values[1] == pytest.approx(0.5, abs=0.05)
    assert values[-1] < 1e-4


def test_one_absurd_value_does_not_blind_a_young_model() -> None:
    values = host(420)
    values[150, 2] = 1e9
    model = learnt(values[:400])
    values[400:, 2] *= 4
    assert judged(model, values[400:])[-1].top[0].metric == 2
