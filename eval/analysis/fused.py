"""Several measures as one: a logistic rule that is fitted on other concepts than the one it judges."""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from eval.analysis.metrics import check_measurable

FUSED = "fused"
CONCEPTS_NEEDED = 3
REGULARISATION = 1.0  # scikit-learn's C on standardised features: mild, fixed and not tuned
DECISION = ["dataset", "role", "concept", "suspect", "training", "picture", "member"]
COLUMNS = [*DECISION, "method", "measure", "evaluations", "score"]


def fuse(rows: pd.DataFrame, parts: Sequence[tuple[str, str]], chance_training: str | None = None) -> pd.DataFrame:
    """What several measures say together: the log-odds of a logistic rule fitted on other concepts.

    `parts` are pairs of method and measure; `rows` has `COLUMNS`, each measure at its last evaluations alone. Within a
    dataset and training, each concept is judged by a rule fitted on the trained suspects of all others, so no picture's
    label touches its own score. Rows of other roles, "unrelated" and "innocent", are judged likewise, and never fitted
    on; where their training has no trained rows ("none"), by the rules of `chance_training`.

    The scores may be pooled under one threshold: log-odds have one unit and one zero, and the rules of a dataset share
    all concepts but one or two. They differ by the noise of a fit, which costs a little AUC, and with 3 concepts more
    than a little. A threshold across datasets or trainings mixes rules that were fitted apart. Members and holdouts of
    a concept should be equally many; else the other concepts' share of members shifts a rule against the one judged.

    `evaluations` is the sum over distinct methods, of whose measures the dearest counts.

    ValueError below 3 concepts, where a decision lacks a part or has it twice, and where there is no rule for a row.
    """
    scores, evaluations = _by_decision(rows, parts)
    decisions = scores.index.to_frame(index=False)
    x = scores.to_numpy(dtype=float)
    result = np.full(len(x), np.nan)
    trained = (decisions["role"] == "trained").to_numpy()
    known = set(zip(decisions["dataset"][trained], decisions["training"][trained], strict=True))
    for (dataset, training, concept), judged in _judged(decisions, known, chance_training):
        fitted_on = decisions.query("role == 'trained' and dataset == @dataset and training == @training")
        if (n := len(set(fitted_on["concept"]))) < CONCEPTS_NEEDED:
            where = f"{dataset!r}, {training!r}"
            raise ValueError(f"A rule fitted on other concepts needs {CONCEPTS_NEEDED} concepts; {where} has {n}.")
        others = fitted_on.loc[fitted_on["concept"] != concept]
        rule = _fit(x[others.index], others["member"].to_numpy())
        result[judged] = rule.decision_function(x[judged])
    measure = "+".join(f"{method}.{name}" for method, name in parts)
    fused = decisions.assign(method=FUSED, measure=measure, evaluations=evaluations.to_numpy(), score=result)
    return fused.loc[:, COLUMNS]


def _by_decision(rows: pd.DataFrame, parts: Sequence[tuple[str, str]]) -> tuple[pd.DataFrame, pd.Series]:
    """A column for each part and a row for each decision, in their own order; and the evaluations of each decision."""
    wanted = pd.MultiIndex.from_tuples(parts, names=["method", "measure"])
    if not len(wanted) or wanted.has_duplicates:
        raise ValueError("A fusion needs parts, each named once.")
    found = rows.loc[pd.MultiIndex.from_frame(rows.loc[:, ["method", "measure"]]).isin(wanted)]
    if absent := [part for part in parts if part not in set(zip(found["method"], found["measure"], strict=True))]:
        raise ValueError(f"There are no scores of {'.'.join(absent[0])}.")
    if (twice := found.duplicated([*DECISION, "method", "measure"])).any():
        one = _named(found.loc[twice].iloc[0])
        raise ValueError(f"A decision has a measure twice: {one}. Keep each measure's last evaluations.")
    scores = found.pivot(index=DECISION, columns=["method", "measure"], values="score").sort_index()
    scores = scores.reindex(columns=wanted)
    if (lacking := scores.isna().any(axis=1)).any():
        one = scores.loc[lacking].reset_index().droplevel("measure", axis=1).iloc[0]
        raise ValueError(f"{int(lacking.sum())} decisions lack a part (or it is NaN), such as {_named(one)}.")
    dearest = found.groupby([*DECISION, "method"])["evaluations"].max()
    return scores, dearest.groupby(level=DECISION).sum().reindex(scores.index)


def _judged(
    decisions: pd.DataFrame, known: set[tuple[str, str]], chance_training: str | None
) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """Each rule (dataset, training, concept left out) and the positions of the decisions that it judges."""
    for key, positions in decisions.groupby(["dataset", "training", "concept"]).indices.items():
        dataset, training, concept = cast(tuple[str, str, str], key)
        rule = training if (dataset, training) in known else chance_training
        if rule is None or (dataset, rule) not in known:
            raise ValueError(f"{dataset!r} has no trained rows of training {training!r}, nor of {chance_training!r}.")
        yield (dataset, rule, concept), positions


def _fit(x: np.ndarray, member: np.ndarray) -> Pipeline:
    """A rule whose `decision_function` is the log-odds of being a member."""
    check_measurable(member, np.zeros(len(member)))
    return make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000)).fit(x, member)


def _named(row: pd.Series) -> str:
    return ", ".join(str(row[column]) for column in DECISION)
