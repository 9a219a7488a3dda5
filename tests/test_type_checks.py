"""Types are checked at every call while the tests run, with axes and without."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jaxtyping
import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float
from torch import Tensor

from cgidm.intake.header import TensorInfo
from cgidm.method.schedule import Schedule
from tests.support.type_checks import check_types, names_no_axis

Row = Float[Tensor, " n"]


def test_the_library_refuses_wrong_types_and_shapes():
    schedule = Schedule.flow(torch.linspace(0, 1, 5))
    x, t = torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])
    assert schedule.add_noise(x, x, t).shape == x.shape
    for wrong in ((x, x[:1], t), (x, x, t[:1]), (x, x, t.float())):
        with pytest.raises(jaxtyping.TypeCheckError):
            schedule.add_noise(*wrong)
    with pytest.raises(BeartypeCallHintViolation):
        TensorInfo("F16", [2, 2])  # pyright: ignore[reportArgumentType]


def test_arguments_results_and_fields_without_axes_are_checked():
    @check_types(typechecker=beartype)
    def longest(words: list[str], other: int | None = None) -> str:
        return max(words, key=len) if words else other  # pyright: ignore[reportReturnType]

    @check_types(typechecker=beartype)
    @dataclass
    class Box:
        side: float
        kind: Literal["card", "wood"] = "card"

    assert longest(["a", "bc"]) == "bc" and Box(2.0).side == 2
    for wrong in (lambda: longest([1]), lambda: longest([], 3), lambda: Box("2"), lambda: Box(2.0, "tin")):  # pyright: ignore
        with pytest.raises(BeartypeCallHintViolation):
            wrong()


def test_axes_are_compared_wherever_a_type_names_one():
    @check_types(typechecker=beartype)
    def added(a: Row, b: Row) -> Row:
        return a + b

    @check_types(typechecker=beartype)
    @dataclass
    class Pair:
        a: Row
        b: list[Row]

    two, three = torch.zeros(2), torch.zeros(3)
    assert len(added(two, two)) == 2 and len(Pair(two, [two]).b) == 1
    for wrong in (lambda: added(two, three[:1]), lambda: added(two, three), lambda: Pair(two, [three])):
        with pytest.raises(jaxtyping.TypeCheckError):
            wrong()


@pytest.mark.parametrize(
    ("hint", "plain"),
    [
        (int, True),
        (Path | None, True),
        (Literal["jaxtyping.Float"], True),
        (Callable[[int, list[str]], None], True),
        (Any, True),
        (Row, False),
        (Row | None, False),
        (dict[str, list[Row]], False),
        (Callable[[Row], int], False),
        ("Row", False),
        (list["Row"], False),
    ],
    ids=str,
)
def test_a_type_that_may_name_an_axis_is_recognised(hint, plain):
    def takes(x):
        return x

    takes.__annotations__ = {"x": hint}
    assert names_no_axis(takes) == plain
    takes.__annotations__ = {"return": hint}
    assert names_no_axis(takes) == plain


def test_a_generator_keeps_its_scope():
    def numbers() -> Iterator[int]:
        yield 1

    assert not names_no_axis(numbers)
