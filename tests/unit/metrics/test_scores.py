"""Risk, value, bands and the sentence."""

import numpy as np
import pytest

from services.metrics.domain.bgnbd import BGNBD
from services.metrics.domain.gamma_gamma import GammaGamma
from services.metrics.domain.newton import Fit
from services.metrics.domain.scores import BANDS, ScoreModel
from tests.unit.metrics.cdnow import Columns


@pytest.fixture(scope="module")
def score_model(fitted: Fit[BGNBD], spending: Fit[GammaGamma]) -> ScoreModel:
    return ScoreModel(fitted.model, spending.model)


def test_value_is_discounted_spend(score_model: ScoreModel, columns: Columns) -> None:
    model, spend = score_model.purchases, score_model.spend
    x, t_x, T, m = (column[:50] for column in columns)
    undiscounted = spend.expected_spend(x, m) * model.expected(52, x, t_x, T)
    free = ScoreModel(model, spend, annual_discount=0.0)
    assert free.cltv(x, t_x, T, m) == pytest.approx(undiscounted)
    ratio = score_model.cltv(x, t_x, T, m) / undiscounted
    assert (ratio > 1 / 1.10).all()
    assert (ratio < 1).all()
    by_hand = sum(
        (model.expected(4 * k, x, t_x, T) - model.expected(4 * k - 4, x, t_x, T)) / 1.10 ** ((4 * k - 2) / 52)
        for k in range(1, 14)
    )
    assert score_model.cltv(x, t_x, T, m) == pytest.approx(by_hand * spend.expected_spend(x, m))


def test_no_customer_of_cdnow_has_an_impossible_score(score_model: ScoreModel, columns: Columns) -> None:
    scores = score_model.scores(*columns)
    assert all(np.isfinite(column).all() for column in scores)
    assert (scores.cltv >= 0).all()
    assert ((scores.risk >= 0) & (scores.risk <= 1)).all()
    assert np.bincount(scores.risk_band).tolist() == [305, 425, 1627]
    assert np.bincount(scores.value_band).tolist() == [2040, 230, 87]


def test_a_score_does_not_depend_on_who_else_is_scored(score_model: ScoreModel, columns: Columns) -> None:
    together = score_model.scores(*columns)
    for i in range(0, len(columns.x), 97):
        alone = score_model.scores(*(column[i : i + 1] for column in columns))
        for one, all in zip(alone, together, strict=True):
            assert one[0] == all[i]


def test_bands_follow_their_bounds(score_model: ScoreModel) -> None:
    frequent, lapsed, once = (20, 38, 38.5, 50.0), (20, 10, 38.5, 50.0), (0, 0, 38, 0)
    scores = score_model.scores(*zip(frequent, lapsed, once, strict=True))
    assert [BANDS[band] for band in scores.risk_band] == ["low", "high", "high"]
    assert [BANDS[band] for band in scores.value_band] == ["high", "low", "low"]
    assert score_model.new_customer_value == pytest.approx(1.444 * 35.17 * 0.96, rel=0.01)


@pytest.mark.parametrize(
    ("x", "last", "today", "sentence"),
    [
        (5, 105, 245, "Bought 6 times, about every 21 days, silent for 140 days, 6.7 times the usual gap; "),
        (5, 105, 126, "Bought 6 times, about every 21 days, silent for 21 days; "),
        (1, 30, 30, "Bought 2 times, about every 30 days, last today; "),
        (4, 4, 5, "Bought 5 times, about every day, silent for 1 day; "),
        (4, 4, 104, "Bought 5 times, about every day, silent for 100 days, 100 times the usual gap; "),
        (0, 0, 140, "Bought once, 140 days ago, and not again; "),
        (0, 0, 1, "Bought once, 1 day ago, and not again; "),
        (0, 0, 0, "Bought once, today, and not again; "),
    ],
)
def test_the_sentence(score_model: ScoreModel, x: int, last: int, today: int, sentence: str) -> None:
    said = score_model.explain(x, last / 7, today / 7)
    assert said.startswith(sentence + "the chance of an order in the next 39 weeks is ")
    assert said.endswith(" %.")


def test_the_sentence_names_the_chance(score_model: ScoreModel) -> None:
    chance = 1 - float(score_model.scores(5, 15, 35, 0).risk)
    assert score_model.explain(5, 15, 35).endswith(f" is {chance * 100:.0f} %.")
    assert score_model.explain(40, 5, 38).endswith(" is under 1 %.")
    assert (
        ScoreModel(score_model.purchases, score_model.spend, horizon_weeks=13).explain(5, 15, 35).count("next 13 weeks")
        == 1
    )
