"""Cures against flukes and drift: fields of a recipe that change what is trained on, and do nothing where they are not set."""

import json
import math
import shutil
from itertools import groupby
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import PairsConfig, load_recipe
from selfreward.records import Checkpoint, Dropped, Iteration, Judgment, Pair, Prompt, Response, read_jsonl
from selfreward.rundir import open_run
from selfreward.stats import Odds, mean_scores, pair_outcomes
from selfreward.steps import best_against_worst, pair_policy, pairs, trusted, without_flukes
from selfreward.steps.pairs import shortest_of_the_best
from tinyrun import Killed, go, make_world, quiet, tree, write_apart


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The smallest run's recipe. Unlike the fake as it is, each model here has judgments of its own."""
    quiet(monkeypatch)
    write_apart(monkeypatch)
    return make_world(tmp_path / "world")


WIDE = {"responses__n": 4, "prompts__per_iteration": 12}
"""Enough candidates for every rule to find something to do."""


def records(folder, name, kind):
    return read_jsonl(folder / f"{name}.jsonl", kind)


def receipt(folder, stage):
    return json.loads((folder / f"{stage}.receipt.json").read_text())


def refusal(world, **changes):
    with pytest.raises(SelfRewardError) as refused:
        load_recipe(world, {name.replace("__", "."): value for name, value in changes.items()})
    return str(refused.value)


# likely flukes are dropped

PROMPTS = [Prompt(text=f"prompt {n}", source="self") for n in range(3)]
CHOSEN = [
    Pair(prompt_id=prompt.id, chosen_id=f"{n} good", rejected_id=f"{n} bad", chosen_score=4, rejected_score=2)
    for n, prompt in enumerate(PROMPTS)
]


def test_a_pair_that_flips_more_likely_than_the_limit_is_dropped_and_one_of_which_nothing_is_known_stays(world, monkeypatch):
    outcomes = {CHOSEN[0].id: Odds(0.7, 0.1, 0.2), CHOSEN[1].id: Odds(0.69, 0.1, 0.21)}
    monkeypatch.setattr(pairs, "pair_outcomes", lambda *given: outcomes)
    recipe, before = load_recipe(world, {"pairs.max_fluke": 0.2}), Dropped(id="other", stage="pairs", reason="tie")
    kept, dropped = without_flukes((CHOSEN, [before]), [], [], recipe)
    assert kept == [CHOSEN[0], CHOSEN[2]]
    assert dropped == [before, Dropped(id=PROMPTS[1].id, stage="pairs", reason="likely_fluke")]


def test_a_run_drops_the_pairs_that_would_flip_and_counts_them(world, tmp_path):
    first, folder = tmp_path / "all" / "M2", tmp_path / "some" / "M2"
    go(world, first.parent, **WIDE)
    pairs = records(first, "pairs", Pair)
    outcomes = pair_outcomes(pairs, records(first, "responses", Response), records(first, "judgments", Judgment), 1)
    limit = fmean(outcome.flipped for outcome in outcomes.values())
    likely = {pair.id for pair in pairs if outcomes[pair.id].flipped > limit}
    assert 0 < len(likely) < len(pairs)
    go(world, folder.parent, pairs__max_fluke=limit, **WIDE)
    assert records(folder, "pairs", Pair) == [pair for pair in pairs if pair.id not in likely]
    before = receipt(first, "pairs")["dropped"]
    assert receipt(folder, "pairs")["dropped"] == {**before, "likely_fluke": len(likely)}
    assert receipt(folder, "model")["steps"] == len(pairs) - len(likely)  # one pair a step


def test_one_judgment_a_response_tells_nothing_of_flukes(world):
    assert "judge.samples must be at least 2" in refusal(world, pairs__max_fluke=0.2, judge__samples=1)


# the length rule


def scored(candidates, finish="stop"):
    """(score, response) of (score, length) or (score, length, finish)."""
    return [
        (score, Response(prompt_id="p", model="m", index=n, text="abcdef"[n] * length, finish=(*rest, finish)[0]))
        for n, (score, length, *rest) in enumerate(candidates)
    ]


def lengths(candidates, rho):
    """(length of the chosen, of the rejected), or the reason that there is no pair."""
    group = scored(candidates)
    made, of = shortest_of_the_best("p", group, rho), {one.id: len(one.text) for _, one in group}
    return (of[made.chosen_id], of[made.rejected_id]) if isinstance(made, Pair) else made


SIX = [(5, 300), (4, 100), (3, 90), (2, 400), (1, 350), (0, 10)]


@pytest.mark.parametrize(
    ("rho", "expected"),
    [
        (0.0, (300, 10)),  # best against worst
        (0.2, (100, 350)),  # good: 4 and better; bad: 1 and worse
        (0.4, (90, 400)),  # good: 3 and better; bad: 2 and worse
        (0.6, (90, 400)),  # 3 and 2 are both good and bad, and neither is shorter or longer
        (1.0, "tie"),  # everything is both: the shortest scores 0, the longest 2
    ],
)
def test_the_shortest_of_the_good_is_chosen_against_the_longest_of_the_bad(rho, expected):
    assert lengths(SIX, rho) == expected


def test_a_score_on_the_border_is_within_it_whatever_the_rounding_of_thirds():
    assert lengths([(10 / 3, 300), (8 / 3, 20), (2 / 3, 100)], 0.25) == (20, 100)  # the border is 8 / 3
    assert lengths([(14 / 3, 20), (5 / 3, 300), (2 / 3, 100)], 0.25) == (20, 300)


def test_what_ran_out_of_length_is_not_chosen_however_short_and_may_be_rejected():
    assert lengths([(5, 10, "length"), (4, 30), (4, 20), (0, 40, "length"), (0, 35)], 0.1) == (20, 40)
    assert lengths([(5, 10, "length"), (3, 30), (2.7, 20), (0, 5)], 0.1) == (20, 5)  # the best that counts is 3, not 5
    assert lengths([(5, 10, "length"), (4, 30, "length")], 0.4) == "all_ran_out_of_length"


def test_a_rule_that_finds_no_preference_says_so():
    assert lengths([(3, 10), (3, 20)], 0.4) == "tie"
    group = [(score, one.model_copy(update={"text": "same"})) for score, one in scored([(5, 4), (1, 4)])]
    assert shortest_of_the_best("p", group, 0.4) == "same_text"


def test_among_equal_lengths_the_content_id_decides_and_not_the_order():
    group = scored([(5, 7), (4.9, 7), (1, 7), (1.1, 7)])
    made = shortest_of_the_best("p", group, 0.3)
    assert made == shortest_of_the_best("p", group[::-1], 0.3)
    assert made.chosen_id == min(one.id for _, one in group[:2])
    assert made.rejected_id == max(one.id for _, one in group[2:])


FINISHES = st.sampled_from(["stop", "stop", "length"])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), FINISHES), min_size=2, max_size=6), st.sampled_from([0.1, 0.5]))
def test_the_rule_is_the_one_that_was_published(candidates, rho):
    made, group = lengths(candidates, rho), candidates
    whole = [one for one in group if one[2] == "stop"]
    if not whole:
        assert made == "all_ran_out_of_length"
        return
    top, bottom = max(one[0] for one in whole), min(one[0] for one in group)
    good = [one for one in whole if one[0] >= (1 - rho) * top + rho * bottom - 1e-9]
    bad = [one for one in group if one[0] <= (1 - rho) * bottom + rho * top + 1e-9]
    shortest, longest = min(one[1] for one in good), max(one[1] for one in bad)
    apart = [a[0] > b[0] for a in good if a[1] == shortest for b in bad if b[1] == longest]  # several where lengths are equal
    assert made == (shortest, longest) if all(apart) else made in ((shortest, longest), "tie")
    assert made == "tie" if not any(apart) else made


def test_a_run_goes_by_the_rule_and_without_it_by_best_against_worst(world, tmp_path):
    load_recipe(world)
    assert pair_policy(PairsConfig()) is best_against_worst
    found = {}
    for rho in (0.0, 0.4):
        folder = tmp_path / str(rho) / "M2"
        go(world, folder.parent, pairs__length_rho=rho, **WIDE)
        scores = mean_scores(records(folder, "judgments", Judgment), 1)
        expected = []
        for prompt, candidates in groupby(records(folder, "responses", Response), lambda one: one.prompt_id):
            group = [(scores[one.id], one) for one in candidates if one.id in scores]
            if len(group) > 1:
                expected.append(shortest_of_the_best(prompt, group, rho) if rho else best_against_worst(prompt, group))
        found[rho] = records(folder, "pairs", Pair)
        assert found[rho] == [made for made in expected if isinstance(made, Pair)]
    assert found[0.0] != found[0.4]


def test_the_length_rule_does_not_go_with_another_policy(world):
    said = refusal(world, pairs__length_rho=0.3, pairs__policy="selfreward.steps.pairs:half_a_point_apart")
    assert "leave out length_rho, or policy" in said and len(said.splitlines()) == 1


# the judge


def fingerprints(run):
    return {f"M{t}": receipt(run / f"M{t}", "model")["fingerprint"] for t in range(1, 5) if (run / f"M{t}").exists()}


def judges(run, stage="judgments"):
    """Folder → the names of the models that judged in `stage`."""
    names = {found: name for name, found in fingerprints(run).items()}
    files = {name: run / name / f"{stage}.jsonl" for name in names.values()}
    return {name: {names[one.judge] for one in read_jsonl(file, Judgment)} for name, file in files.items() if file.exists()}


def test_a_judge_one_iteration_behind_is_the_model_before_the_one_that_answers(world, tmp_path):
    go(world, tmp_path / "run", iterations=3, judge__by="previous")
    assert judges(tmp_path / "run") == {"M2": {"M1"}, "M3": {"M1"}, "M4": {"M2"}}
    by_name = fingerprints(tmp_path / "run")
    for t in (2, 3, 4):
        answers = records(tmp_path / "run" / f"M{t}", "responses", Response)
        assert {answer.model for answer in answers} == {by_name[f"M{t - 1}"]}


def test_a_judge_one_iteration_behind_is_named_on_the_page_and_the_card(world, tmp_path, monkeypatch):
    from selfreward.reports.card import judge_of
    from selfreward.reports.page import _actors

    go(world, tmp_path / "run", iterations=3, judge__by="previous")
    found = _actors(open_run(tmp_path / "run"))
    assert {name: actors["judges"] for name, actors in found.items()} == {"M2": "M1", "M3": "M1", "M4": "M2"}
    assert [actors["says"] for actors in found.values()] == ["M1 says of itself", "M1 says", "M2 says"]
    assert judge_of(load_recipe(world, {"judge.by": "previous"})) == "the model one iteration before the answering model"


@pytest.mark.parametrize("by", ["current", "frozen"])
def test_twelve_judgments_of_each_response_are_asked_and_averaged(by, world, tmp_path):
    go(world, tmp_path / "run", iterations=2, judge__by=by, judge__samples=12, judge__min_valid=7, **WIDE)
    folder = tmp_path / "run" / "M3"
    judgments = records(folder, "judgments", Judgment)
    samples = {
        name: {one.sample for one in judgments if one.response_id == name} for name in {one.response_id for one in judgments}
    }
    assert samples and set(map(frozenset, samples.values())) == {frozenset(range(12))} and len(judgments) == 12 * len(samples)
    assert judges(tmp_path / "run")["M3"] == ({"M1"} if by == "frozen" else {"M2"})
    for pair in records(folder, "pairs", Pair):
        valid = [one.score for one in judgments if one.response_id == pair.chosen_id and one.score is not None]
        assert len(valid) >= 7 and pair.chosen_score == pytest.approx(fmean(valid))


# the order of the pairs, trusted as far as rankings last


def tau_b(ours, theirs):
    """Kendall 1945, by counting; None where one side has nothing but ties."""
    pairs = [(a, b) for a in range(len(ours)) for b in range(a)]
    signs = [((ours[a] > ours[b]) - (ours[a] < ours[b]), (theirs[a] > theirs[b]) - (theirs[a] < theirs[b])) for a, b in pairs]
    untied = math.prod(sum(sign[side] != 0 for sign in signs) for side in (0, 1))
    return sum(x * y for x, y in signs) / math.sqrt(untied) if untied else None


def judged(scores, judge):
    """A judgment of each response by id."""
    return [
        Judgment(response_id=name, judge=judge, sample=0, rationale="", outcome="scored", score=score)
        for name, score in scores.items()
    ]


class Asked:
    """A folder in which `theirs` is what a model answers."""

    name = "M3"

    def __init__(self, theirs):
        self.theirs, self.stages = theirs, []

    def ask(self, part, grader, items, by):
        self.stages.append((part.name, by.name, len(grader.plan(items, by, 0))))
        return judged(self.theirs, "before")


def test_confidence_is_half_of_one_plus_the_mean_tau_of_the_prompts_that_have_one(world):
    answers = [Response(prompt_id=p.id, model="m", index=n, text=f"a {n}", finish="stop") for p in PROMPTS for n in range(3)]
    ours, theirs = ([5, 3, 1, 1, 3, 5, 4, 4, 2], [4, 4, 1, 5, 3, 1, 2, 2, 2])
    by_id = [dict(zip([one.id for one in answers], map(float, scores), strict=True)) for scores in (ours, theirs)]
    made, it = Iteration(0, PROMPTS, answers, judged(by_id[0], "now"), []), Asked(by_id[1])
    recipe = load_recipe(world, {"dpo.confidence": "consistency"})
    models = {name: Checkpoint(name=name, path=world, fingerprint=name) for name in ("M1", "M2")}
    cast = SimpleNamespace(judge=lambda config, model: model, before=lambda model: models["M1"] if model.name == "M2" else None)
    found = trusted(recipe, made, it, models["M2"], cast).confidence
    # 5 3 1 beside 4 4 1: two pairs alike, one tied by one side: 2 / √(3 · 2); 1 3 5 beside 5 3 1: -1; the third has all tied
    assert found == pytest.approx(((2 / math.sqrt(6) - 1) / 2 + 1) / 2)
    assert it.stages == [("judgments_before", "M1", 9 * 3)]
    assert trusted(recipe, made, it, models["M1"], cast).confidence == 1.0 and len(it.stages) == 1
    nothing_but_ties = Asked(dict.fromkeys(by_id[1], 4.0))
    assert trusted(recipe, made, nothing_but_ties, models["M2"], cast).confidence == 1.0
    assert trusted(load_recipe(world), made, it, models["M2"], cast) == load_recipe(world).dpo and len(it.stages) == 1


CONSISTENT = {"iterations": 3, "dpo__confidence": "consistency", **WIDE}


@pytest.mark.parametrize(("by", "asked"), [("current", {"M3": {"M1"}, "M4": {"M2"}}), ("previous", {"M4": {"M1"}})])
def test_a_run_measures_its_confidence_from_the_first_judge_that_has_one_before_it(by, asked, world, tmp_path):
    go(world, tmp_path / "run", judge__by=by, **CONSISTENT)
    assert judges(tmp_path / "run", "judgments_before") == asked
    for name in ("M2", "M3", "M4"):
        folder = tmp_path / "run" / name
        assert ("confidence" in receipt(folder, "model")) == (name in asked)
    for name in asked:
        folder, taus = tmp_path / "run" / name, []
        ours, theirs = (mean_scores(records(folder, stage, Judgment), 1) for stage in ("judgments", "judgments_before"))
        for _, candidates in groupby(records(folder, "responses", Response), lambda one: one.prompt_id):
            both = [one.id for one in candidates if one.id in ours and one.id in theirs]
            tau = tau_b([ours[one] for one in both], [theirs[one] for one in both])
            taus += [] if tau is None else [tau]
        confidence = receipt(folder, "model")["confidence"]
        assert confidence == pytest.approx((fmean(taus) + 1) / 2) and 0.2 < confidence < 0.8
    assert open_run(tmp_path / "run").finished
    stages = {name: [planned.part.name for planned in model.planned] for name, model in open_run(tmp_path / "run").models.items()}
    assert {name for name, found in stages.items() if "judgments_before" in found} == set(asked)


def test_what_is_made_depends_on_the_confidence(world, tmp_path):
    for confidence in (1, 0.8, "consistency"):
        go(world, tmp_path / str(confidence), iterations=2, dpo__confidence=confidence)
    runs = {name: fingerprints(tmp_path / name) for name in ("1", "0.8", "consistency")}
    assert len({found["M2"] for found in runs.values()}) == 2 and runs["1"]["M2"] == runs["consistency"]["M2"]
    assert len({found["M3"] for found in runs.values()}) == 3
    assert receipt(tmp_path / "0.8" / "M2", "model")["confidence"] == 0.8
    with pytest.raises(SelfRewardError, match=r"M2/model: the recipe changed \(dpo\.confidence: "):
        go(world, tmp_path / "0.8", iterations=2, dpo__confidence=0.9)


@pytest.mark.parametrize("by", ["frozen", "package.module:judge"])
def test_a_judge_that_stays_the_same_has_no_ranking_before_its_own(by, world):
    said = refusal(world, dpo__confidence="consistency", judge__by=by)
    assert 'judge.by = "current" or "previous"' in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("confidence", [-0.1, 1.5, "often", float("nan")])
def test_a_confidence_that_is_none_is_refused_in_one_line(confidence, world):
    said = refusal(world, dpo__confidence=confidence)
    assert 'a number from 0 to 1, or "consistency"' in said and len(said.splitlines()) == 1


def kill_at(monkeypatch, count, once):
    """Die at the `count`-th question, training or change of a file from when the file `once` is there."""
    calls = 0

    def wrap(real):
        def wrapped(*given, **named):
            nonlocal calls
            calls += once.exists()
            if calls == count:
                raise Killed
            return real(*given, **named)

        return wrapped

    for owner, name in [(Path, "replace"), (Path, "rename"), (FakeModel, "generate"), (FakeTrainer, "_train")]:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))


def test_killed_while_confidence_is_measured_or_used_a_run_ends_with_the_same_bytes(world, tmp_path, monkeypatch):
    settings = {"iterations": 2, "dpo__confidence": "consistency", "pairs__max_fluke": 0.5, "pairs__length_rho": 0.2}
    go(world, tmp_path / "undisturbed", **settings)
    undisturbed, run, left = tree(tmp_path / "undisturbed"), tmp_path / "run", set()
    assert receipt(tmp_path / "undisturbed" / "M3", "model")["confidence"] < 1
    for count in range(1, 20, 2):
        shutil.rmtree(run, ignore_errors=True)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, count, run / "M3" / "pairs.receipt.json")
            go(world, run, **settings)
        left |= {path.name for path in (run / "M3").iterdir()}
        go(world, run, **settings)
        assert tree(run) == undisturbed
    assert {"judgments_before.journal.jsonl", "judgments_before.receipt.json", "model.plan.json", "model"} <= left


# off


def test_what_is_off_is_not_written_down_so_that_digests_stay_as_they_were(world):
    off = load_recipe(world, {"dpo.confidence": 1, "pairs.length_rho": 0.0})
    assert {"confidence", "max_fluke", "length_rho"}.isdisjoint({**off.dpo.model_dump(), **off.pairs.model_dump()})
    on = load_recipe(world, {"dpo.confidence": 0.9, "pairs.length_rho": 0.1, "pairs.max_fluke": 0})
    told = {**on.dpo.model_dump(mode="json"), **on.pairs.model_dump(mode="json")}
    assert (told["confidence"], told["length_rho"], told["max_fluke"]) == (0.9, 0.1, 0)
