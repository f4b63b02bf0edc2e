"""What was learnt before is told: sets that hold images of one another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from geryon import events
from geryon.nets.weights import SourceDocument
from geryon.tasks.task import get_task
from geryon.train.evaluate import Look, evaluate
from geryon.train.leaks import between_sources, family, in_evaluation
from geryon.train.recipe import read_recipe
from geryon.train.source import SOURCES, get_source
from tests.conftest import ROOT


def sources(*names: str) -> list[Any]:
    return [get_source(name) for name in names]


def document(held_out: dict[str, tuple[str, ...]], *names: str) -> SimpleNamespace:
    learnt = tuple(SourceDocument(name=name, licence="", use="research") for name in names)
    return SimpleNamespace(name="made", sources=learnt, held_out=held_out)


def case(name: str, group: str = "1") -> SimpleNamespace:
    return SimpleNamespace(name=name, group=group)


def test_sources_hold_only_sources_that_are_there_and_never_themselves() -> None:
    for name in SOURCES:
        source = get_source(name)
        assert set(source.holds) <= {*SOURCES} - {name}
        assert all(name not in get_source(held).holds for held in source.holds), "held one way only"


def test_what_a_set_holds_is_followed_to_the_end() -> None:
    assert family(get_source("conic")) == {"conic", "lizard", "glas", "crag", "consep", "pannuke"}


def test_a_held_out_set_that_another_holds_again_is_told() -> None:
    [said] = between_sources(sources("lizard", "glas", "tnbc"), {"glas": ("testA*",)})
    assert said == "lizard holds images of glas again: what is held out of glas may be learnt through the other"
    assert between_sources(sources("glas", "lizard"), {}) == [
        "lizard holds images of glas again: what validates in one may be learnt through the other"
    ]
    [away] = between_sources(sources("conic"), {"consep": ("train_3",)})
    assert away == "conic holds images of consep again, and that is held out"
    [common] = between_sources(sources("kumar", "monuseg"), {})
    assert "monuseg holds images of kumar again" in common


def test_two_sets_of_which_neither_holds_the_other_may_share_a_third(monkeypatch: Any) -> None:
    other = SimpleNamespace(name="other", holds=("glas",))
    monkeypatch.setitem(SOURCES, "other", "unused:here")
    [said] = between_sources([*sources("lizard"), other], {})
    assert said.startswith("lizard and other both hold images of glas")


def test_the_shipped_recipes_have_no_such_leak() -> None:
    for path in (ROOT / "recipes").glob("geryon-*.yaml"):
        recipe = read_recipe(path)
        assert between_sources(recipe.source_values(), recipe.split.held_out) == []


def test_figures_on_what_was_learnt_are_told() -> None:
    trained = document({"glas": ("testA*", "5")}, "glas", "tnbc")
    cases = [case("testA_1"), case("train_1"), case("train_2", group="5")]
    assert in_evaluation(trained, "glas", cases[::2]) == []
    [said] = in_evaluation(trained, "glas", cases)
    assert said == "the model was trained on glas: 1 of these 3 images were not held out"
    [other] = in_evaluation(trained, "lizard", cases)
    assert other == "the model was trained on glas: lizard holds images of glas again"
    assert in_evaluation(trained, "monuseg", cases) == in_evaluation(None, "glas", cases) == []
    assert in_evaluation(document({}, "a set of another package"), "glas", cases) == []


def test_evaluation_warns() -> None:
    told: list[Any] = []
    model = SimpleNamespace(tasks=(get_task("nuclei"),), document=document({}, "conic"))
    evaluate(model, [], look=Look(source="consep"), tell=told.append)
    assert events.Warned(text="the model was trained on conic: conic holds images of consep again") in told
