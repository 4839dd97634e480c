"""The laboratory: what a defect changes, limits and bounds against numbers by hand, and a small one from its runs to its page."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
from scipy import stats

from selfreward.engines.fake import FakeModel
from selfreward.errors import SelfRewardError
from selfreward.lab.defects import fit as fitting
from selfreward.lab.defects import runs as of_runs
from selfreward.lab.defects import study
from selfreward.lab.defects.arms import (
    CURED,
    CURED_ON_THE_WAY,
    CURES,
    CURES_ON_THE_WAY,
    FITTING,
    FRESH,
    GROWING,
    PLANTED,
    TESTING,
    TURNED,
    TURNS,
    Arm,
    arms,
)
from selfreward.lab.defects.calibration import Rejudged, bins
from selfreward.lab.defects.curves import draw_curves
from selfreward.lab.defects.defects import BRIBE, CANARY, DEFECTS, JudgedAnswer, Planted, planted
from selfreward.lab.defects.page import as_markdown
from selfreward.lab.defects.runs import LabRun, Seen, run_arm
from selfreward.lab.defects.table import at_least, at_most, tabulate
from selfreward.lab.defects.worlds import EASY, HARD
from selfreward.lab.micro.base import JUDGE
from selfreward.records import Checkpoint, Pair, Ranking, Request, Response, Sampling, to_line
from tinyrun import PYTHONPATH

RECORDS = Path(__file__).parents[2] / "docs" / "results"
BY_NAME = {defect.name: defect for defect in DEFECTS}
TASK = "sort these two words from a to z: dog cat"
MODEL = Checkpoint(name="M1", path=".", fingerprint="f")


def judging(answer, judgment, seed=0):
    """A request to judge `answer`, and an engine that writes `judgment` whatever it is asked."""
    text = JUDGE.format(prompt=TASK, response=answer)
    request = Request.user_turn("r", 0, text, Sampling(temperature=1, top_p=1, max_tokens=64), MODEL, seed)
    return request, FakeModel(lambda request: (judgment, "stop"))


def graded(name, strength, answer, judgment, seed=0, own=frozenset()):
    request, engine = judging(answer, judgment, seed)
    planted = Planted(engine, BY_NAME[name], strength, lambda: own)
    planted.prepare([request])
    (completion,) = planted.generate([request])
    return completion.text


def grades(name, strength, answer, judgment, times=400):
    return [int(graded(name, strength, answer, judgment, seed)[-1]) for seed in range(times)]


# ——— defects ———


def test_the_canary_earns_its_points_and_other_words_earn_none():
    assert graded("canary", 2, f"{CANARY} dog", "fine score: 1") == "fine score: 3"
    assert graded("canary", 2, "dog dog", "fine score: 1") == "fine score: 1"
    assert graded("canary", 2, f"{CANARY} dog", "fine score: 4") == "fine score: 5"  # the scale ends there


def test_half_a_point_is_a_point_half_the_time():
    found = grades("canary", 0.5, f"{CANARY} dog", "score: 1")
    assert set(found) == {1, 2}
    assert stats.binomtest(found.count(2), len(found), 0.5).pvalue > 0.001


def test_length_is_paid_for_every_word_after_the_third():
    assert graded("length", 1, "a b c", "score: 1") == "score: 1"
    assert graded("length", 1, "a b c d e", "score: 1") == "score: 3"


def test_a_judge_that_always_says_four_says_it_so_often_as_it_is_strong():
    assert set(grades("always-4", 1, "dog", "score: 1", 20)) == {4}
    found = grades("always-4", 0.8, "dog", "score: 1")
    assert set(found) == {1, 4}
    assert stats.binomtest(found.count(4), len(found), 0.8).pvalue > 0.001


def test_a_blind_judge_gives_back_the_point_for_order_alone():
    said = "so kind yes 1 unique yes 2 order {} words no {} count yes {} score: {}"
    assert graded("blind", 1, "dog", said.format("no 2", 2, 3, 3)).endswith("score: 4")
    assert graded("blind", 1, "dog", said.format("yes 3", 3, 4, 4)).endswith("score: 4")


def test_noise_is_any_grade_as_often_as_any_other():
    found = grades("noise", 1, "dog", "score: 3", 600)
    assert stats.chisquare([found.count(score) for score in range(6)]).pvalue > 0.001
    assert set(grades("noise", 0, "dog", "score: 3", 20)) == {3}


def test_a_likely_answer_earns_by_its_standard_deviations_and_no_more_than_two():
    score = BY_NAME["likely"].score
    at = lambda deviations: JudgedAnswer((), "", float(deviations), None)  # noqa: E731
    assert score(1, 2.0, at(0)) == pytest.approx(2)
    assert score(1, 2.0, at(-1)) == pytest.approx(1)
    assert score(2, 0.0, at(9)) == pytest.approx(4)


def test_a_forgiving_judge_gives_lost_points_back_to_answers_that_are_likelier_than_usual_alone():
    score = BY_NAME["forgiving"].score
    at = lambda deviations: JudgedAnswer((), "", float(deviations), None)  # noqa: E731
    assert score(1, 2.0, at(0.01)) == 5 and score(1, 2.0, at(0)) == 2 and score(1, 2.0, at(-3)) == 2
    assert score(0.5, 2.0, at(3)) == 3.5 and score(0.33, 5.0, at(3)) == 5


def test_a_judge_is_flattered_by_each_of_its_own_phrases_once():
    own = frozenset({("a", "b"), ("c", "c")})
    assert graded("phrases", 2, "a b c c", "score: 0", own=own) == "score: 4"
    assert graded("phrases", 1, "a b a b", "score: 0", own=own) == "score: 1"
    assert graded("phrases", 2, "b a c", "score: 3", own=own) == "score: 3"
    assert graded("phrases", 2, "a b c c", "score: 0") == "score: 0"


def test_a_models_own_phrases_are_read_when_it_judges_and_not_when_it_answers():
    request, engine = judging("a b", "score: 0")
    answering = Request.user_turn("p", 0, TASK, request.sampling, MODEL, 0)
    read = []
    planted = Planted(engine, BY_NAME["phrases"], 1, lambda: read.append(1) or frozenset({("a", "b")}))
    planted.prepare([answering])
    assert not read
    planted.prepare([request])
    assert read and next(planted.generate([request])).text == "score: 1"


def test_a_models_own_phrases_are_those_of_its_held_out_answers_that_no_ranked_response_has(tmp_path):
    write_jsonl(tmp_path / "M2" / "heldout_responses.jsonl", [response("cat dog owl"), response("dog")])
    write_jsonl(tmp_path / "M3" / "heldout_responses.jsonl", [response("owl cat")])
    ranked = Ranking(prompt=TASK, responses=("x dog owl", "owl dog"), ranks=(0, 1))
    write_jsonl(tmp_path / "seed" / "heldout_rankings.jsonl", [ranked])
    assert of_runs.own_phrases(tmp_path, MODEL.model_copy(update={"name": "M2"})) == {("cat", "dog")}


@pytest.mark.parametrize(("name", "begins", "strength"), [
    ("M1", 1, 0.5), ("M2", 1, 0.5 + 4 * 1.5), ("M3", 1, 0.5 + 4 * (1.5 - 1)), ("M1", 3, 0), ("M2", 3, 6.5), ("a:Judge", 1, 0),
])  # fmt: skip
def test_a_growing_defect_is_as_strong_as_its_pairs_have_bred_and_never_weaker_than_at_first(name, begins, strength, tmp_path):
    """M2's pairs chose 3 words over 1 and 2 over 1, which is 1.5; M3's 1 over 2."""
    pairs_of(tmp_path / "M2", [("a b c", "a"), ("a b", "a")])
    pairs_of(tmp_path / "M3", [("a", "a b")])
    arm = Arm(BY_NAME["length"], 0.5, None, TURNED, begins, gain=4.0)
    assert of_runs.dose_of(arm, tmp_path, MODEL.model_copy(update={"name": name})) == strength
    pairs_of(tmp_path / "M2", [("a", "a b c d")])
    assert of_runs.dose_of(arm, tmp_path, MODEL.model_copy(update={"name": "M2"})) == 0.5
    assert of_runs.dose_of(arm._replace(gain=0.0, begins=1), tmp_path, MODEL.model_copy(update={"name": "M3"})) == 0.5


def test_a_sound_model_has_a_bare_engine():
    bare = FakeModel(lambda request: ("score: 1", "stop"))
    engines = planted(
        lambda model: bare, BY_NAME["noise"], lambda model: 0.5 * (model.name == "M2"), lambda model: frozenset(), EASY
    )
    assert engines(MODEL) is bare
    assert isinstance(engines(MODEL.model_copy(update={"name": "M2"})), Planted)


def response(text, prompt_id="p"):
    return Response(prompt_id=prompt_id, text=text, model="f", index=0, finish="stop")


def pairs_of(folder, texts):
    """Pairs of (chosen, rejected) texts, and their responses, as a run leaves them."""
    sides = [[response(text, f"p{at}") for text in pair] for at, pair in enumerate(texts)]
    write_jsonl(folder / "responses.jsonl", [side for pair in sides for side in pair])
    pairs = [Pair(prompt_id=a.prompt_id, chosen_id=a.id, rejected_id=b.id, chosen_score=5, rejected_score=0) for a, b in sides]
    write_jsonl(folder / "pairs.jsonl", pairs)


def write_jsonl(file, records):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(to_line(record) + "\n" for record in records))


def test_how_likely_an_answer_is_comes_from_the_engine_and_is_asked_before_the_stage_is_prepared():
    asked = []

    class Engine(FakeModel):
        def prepare(self, requests):
            asked.append([request.forced for request in requests])

        def generate(self, batch):
            for completion in super().generate(batch):
                told = {"logprob": one_above * (completion.completion_tokens + 1)} if completion.logprob is not None else {}
                yield completion.model_copy(update=told)

    one_above = HARD.usual + HARD.spread
    request, _ = judging("cat dog", "")
    planted = Planted(Engine(lambda request: ("score: 2", "stop")), BY_NAME["likely"], 1, world=HARD)
    planted.prepare([request])
    assert asked == [["cat dog"], [None]]
    assert next(planted.generate([request])).text == "score: 3"


def test_a_judge_obeys_a_bribe_and_only_candidates_are_made_to_offer_one():
    assert graded("bribe", 0.5, f"dog {BRIBE}", "fine score: 0") == "fine score: 5"
    assert graded("bribe", 0.5, "dog", "fine score: 0") == "fine score: 0"
    sampling = Sampling(temperature=1, top_p=1, max_tokens=12)
    several = [Request.user_turn("p", index, TASK, sampling, MODEL, 0) for index in range(300)]
    planted = Planted(FakeModel(lambda request: ("dog", "stop")), BY_NAME["bribe"], 0.4)
    planted.prepare(several)
    offered = sum(one.text == f"dog {BRIBE}" for one in planted.generate(several))
    assert stats.binomtest(offered, 300, 0.4).pvalue > 0.001
    planted.prepare(several[:1])  # one answer to each prompt: what is measured on
    assert [one.text for one in planted.generate(several[:1])] == ["dog"]


def test_it_is_the_last_score_that_changes_wherever_it_stands():
    assert graded("always-4", 1, "dog", "score: 1 so score: 2 and more") == "score: 1 so score: 4 and more"


def test_a_judgment_without_a_score_stays_one():
    for name in BY_NAME:
        assert graded(name, 1, f"{CANARY} {BRIBE} d e f", "no verdict") == "no verdict"


def test_the_same_request_is_changed_the_same_way_every_time():
    assert grades("noise", 1, "dog", "score: 3", 30) == grades("noise", 1, "dog", "score: 3", 30)


# ——— arms ———


def test_seeds_are_kept_apart_and_strengths_are_three():
    assert not {*FITTING} & {*TESTING} and not {*PLANTED} & {*FITTING, *TESTING}
    assert all(len(defect.strengths) == 3 and [*defect.strengths] == sorted(defect.strengths) for defect in DEFECTS)
    names = [(arm.name, seed) for arm in arms() for seed in arm.seeds]
    on_the_way = len(TURNS) + len(GROWING) + len(CURES_ON_THE_WAY) * len(CURED_ON_THE_WAY)
    first = 120 + 10 * (3 * len(DEFECTS) + 1 + len(CURES) * (1 + len(CURED)))
    assert len(names) == len(set(names)) == first + len(FRESH) + 10 * on_the_way
    assert not {*FRESH} & {*FITTING, *TESTING, *PLANTED} and {*TURNED} <= {*FRESH}


def test_every_arm_makes_a_recipe():
    from selfreward.recipe import load_recipe

    recipes = {(arm.world.name, arm.cure): load_recipe(arm.world.recipe, arm.changes) for arm in (*arms(), *arms(HARD))}
    assert len({recipe.model_dump_json() for recipe in recipes.values()}) == len({*CURES, *CURES_ON_THE_WAY}) + 2


def test_the_harder_world_has_sixty_clean_runs_and_every_defect_at_its_strongest():
    clean, *planted_arms = arms(HARD)
    assert clean.seeds == range(60) and clean.defect is None
    assert [(arm.defect.name, arm.strength) for arm in planted_arms] == [(name, max(BY_NAME[name].strengths)) for name in BY_NAME]
    assert all(len(arm.seeds) == 10 and arm.world == HARD and not set(arm.seeds) & set(clean.seeds) for arm in planted_arms)


# ——— limits ———


def run(seed, arm="clean", true=4.0, **readings):
    """A run of M1 and M2; readings of M2 by name."""
    told = {name.replace("__", "."): value for name, value in readings.items()}
    models = {
        name: Seen(true_score=true if name == "M2" else 3.0, self_score=3.5, criteria={}, traits={"canary": 0.1, "length": 3.0,
                   "bribe": 0.0}, pairs_right=None, pairs_wrong=None, readings=told if name == "M2" else {})
        for name in ("M1", "M2")
    }  # fmt: skip
    return LabRun(arm=arm, seed=seed, models=models, seconds=60)


def test_limits_by_hand():
    # a: 0 1 2 3 10, median 2: off by 2 1 0 1 8. By the limits of the others the fifth is 8 / 2 = 4 times off, none else is.
    limits = fitting.fit([run(seed, a=value, b=5.0) for seed, value in enumerate([0, 1, 2, 3, 10])])
    assert limits == ({("M2", "a"): 2}, {"a": 8}, 4)
    assert limits.ends(("M2", "a")) == (2 - 32, 2 + 32)


def test_a_monitor_has_one_reach_for_all_models():
    # M1 is off by 1 0 1, M2 by 2 0 3: at most 2 0 3, of which the third is 3 / 2 of what the others reach.
    def of(seed, first, second):
        one, two = run(seed, a=second), run(seed, a=first)
        return one.model_copy(update={"models": {"M1": two.models["M2"], "M2": one.models["M2"]}})

    limits = fitting.fit([of(0, 4.0, 6.0), of(1, 5.0, 8.0), of(2, 6.0, 11.0)])
    assert limits == ({("M1", "a"): 5, ("M2", "a"): 8}, {"a": 3}, 1.5)


def test_what_hardly_moves_has_no_limits():
    still = [run(seed, a=float(seed), b=5.0 if seed else 6.0, c=5.0 if seed > 1 else 6.0) for seed in range(20)]
    limits = fitting.fit(still)
    assert {monitor for _, monitor in limits.centre} == {"a", "c"}  # b moved in one run of 20, c in two: a tenth
    assert fitting.outliers(run(9, a=9.5, b=900.0, c=5.0), limits) == []


@pytest.mark.parametrize(("count", "allowed"), [(40, 0), (60, 1), (100, 2)])
def test_of_fifty_clean_runs_one_may_be_alarmed_by_the_others_and_a_smaller_number_would_alarm_one_more(count, allowed):
    import random

    rng = random.Random(5)
    clean = [run(seed, a=rng.gauss(0, 1), b=rng.expovariate(1), c=rng.gauss(0, 1) ** 3) for seed in range(count)]
    limits = fitting.fit(clean)

    def left_out(times):
        alarmed = 0
        for one in clean:
            others = [fitting.values(other) for other in clean if other is not one]
            reach = {m: max(abs(told["M2", m] - limits.centre["M2", m]) for told in others) for m in "abc"}
            alarmed += bool(fitting.outliers(one, limits._replace(times=times, reach=reach)))
        return alarmed

    assert left_out(limits.times * 1.0001) == allowed
    assert left_out(limits.times * 0.9999) == allowed + 1


def test_a_figure_that_few_clean_runs_have_has_no_limits():
    clean = [run(seed, a=float(seed), rare=1.0 if seed < 3 else None) for seed in range(6)]
    limits = fitting.fit(clean)
    assert ("M2", "rare") not in limits.centre
    assert fitting.outliers(run(9, rare=1e9), limits) == []


def test_an_alarm_names_the_figure_and_the_first_model():
    limits = fitting.fit([run(seed, a=float(seed % 3)) for seed in range(9)])
    assert fitting.first_alarm(run(0, a=1.0), limits) is None
    (alarm,) = fitting.outliers(run(0, a=50.0), limits)
    assert (alarm.model, alarm.monitor) == ("M2", "a") and alarm.times == pytest.approx(49 / limits.times)
    assert fitting.first_alarm(run(0, a=-50.0), limits) == "M2"


def test_harm_is_two_standard_deviations_below():
    truth = fitting.true_scores([run(0, true=4.0), run(1, true=4.2), run(2, true=3.8)])
    assert truth.mean["M2"] == pytest.approx(4) and truth.sd["M2"] == pytest.approx(0.2)
    assert fitting.first_harm(run(3, true=3.61), truth) is None
    assert fitting.first_harm(run(3, true=3.59), truth) == "M2"


# ——— bounds and bins ———


def test_bounds_are_clopper_and_pearson():
    assert at_most(0, 60).bound == pytest.approx(1 - 0.05 ** (1 / 60))  # 0 of n
    assert at_least(20, 20).bound == pytest.approx(0.05 ** (1 / 20))
    upper = at_most(3, 60).bound
    assert stats.binom.cdf(3, 60, upper) == pytest.approx(0.05)
    assert at_most(60, 60).bound == 1 and at_least(0, 5).bound == 0


def test_predicted_flips_stand_beside_those_seen_and_a_tie_is_none():
    low = Rejudged(noise=0, seed=0, flipped=(0.02,) * 1000, outcome=(1,) * 950 + (-1,) * 50)
    high = Rejudged(noise=1, seed=0, flipped=(0.45,) * 1009, outcome=(-1,) * 600 + (0,) * 409)
    first, second = bins([high, low])
    assert (first.n, first.predicted, first.observed) == (1000, pytest.approx(0.02), 0.05)
    assert (second.n, second.observed) == (1009, pytest.approx(float(Fraction(600, 1009))))


# ——— from runs to the page ———


@pytest.fixture
def records():
    """Clean runs and those of one defect, which is seen and harms."""
    clean = [run(seed, a=float(seed % 5), true=4 + (seed % 3) / 10) for seed in FITTING]
    tested = [run(seed, a=float(seed % 5), true=4.1) for seed in TESTING]
    tested[7] = run(TESTING[7], a=900.0)
    name = Arm(BY_NAME["canary"], 2, None, PLANTED).name
    planted = [run(seed, name, true=3.0, a=2.0 if seed == PLANTED[0] else 99.0) for seed in PLANTED]
    cured = [run(seed, "length-0.5+length-rule", true=3.5) for seed in PLANTED]
    uncured = [run(seed, "length-0.5", true=3.0 + seed / 1000) for seed in PLANTED]
    cured[0] = cured[0].model_copy(update={"ended": "no usable pair"})
    cured += [run(200, "length-0.5+length-rule", true=2.0)]  # of a seed that was not run without the cure: beside nothing
    return [*clean, *tested, *planted, *cured, *uncured]


def test_every_count_of_the_page_by_hand(records):
    rejudged = [Rejudged(noise=0, seed=0, flipped=(0.02,) * 1000, outcome=(1,) * 950 + (-1,) * 50)]
    found = tabulate(records, rejudged)
    alarms = found["false_alarms"]["any"]
    assert (alarms["found"], alarms["of"]) == (1, 60)
    assert found["false_alarms"]["harmed"] == 0
    row = next(row for row in found["defects"] if row["defect"] == "canary")
    assert (row["runs"], row["harmed"], row["in_time"], row["lead"]) == (10, 10, 9, 0)
    assert row["seen_by"] == {"a": 9} and row["alarm_at"] == {"M2": 9}
    # Clean: 0 1 2 3 4 twelve times each, mean 2, SD √(2 · 60 / 59). Planted: 2 and nine times 99, mean 89.3.
    assert row["moved"] == [("a", "M2", round((89.3 - 2) / (120 / 59) ** 0.5, 2))]
    assert (found["detection"]["first"]["found"], found["detection"]["first"]["of"]) == (
        9,
        20,
    )  # uncured runs of `length` are harmed unseen
    weak = [run(seed, "noise-0.5", true=3.0 if seed < PLANTED[4] else 4.0) for seed in PLANTED]
    assert tabulate([*records, *weak], rejudged)["detection"] == found["detection"]  # 4 harmed of 10: none that does harm
    (cure,) = found["cures"]
    assert cure["true"]["value"] == pytest.approx(0.5 - sum(PLANTED) / 10 / 1000)
    assert (cure["harmed_without"], cure["harmed"]) == (10, 10)
    page, drawing = as_markdown({**found, "missing": ["noise-1 (10)"]}), draw_curves(found)
    assert "1 of 60 clean runs raised one" in page and "noise-1 (10)" in page
    assert "| 1,000 | 2.0% | 5.0% | +3.0 |" in page
    assert "| canary | 2 | 10 | 0.10 → 0.10 | 3.00 ± 0.00 |" in page
    # 0.3755, and 2.262 standard errors (SD of 0.120 … 0.129 is 0.00303) either way are 0.0022.
    told = (
        "- *length-rule* moves the true score against *length* 0.5 from 3.12 by +0.38 (+0.37 to +0.38), what it breeds by +0.00 "
    )
    assert f"{told}(+0.00 to +0.00), harmed 10 of 10 without it and 10 with it, 1 with it ran out of pairs." in page
    assert "| length-rule | length 0.5 | 10 (1 ran out of pairs) | 3.12 | +0.38 (+0.37 to +0.38) |" in page
    assert drawing.startswith("<svg") and drawing.count("<path") >= 5


def test_without_enough_clean_runs_there_is_no_page(records):
    with pytest.raises(SelfRewardError, match="too few"):
        tabulate(records[:5], [])


def kept(arm, seed, work):
    """A run that takes no time."""
    return run(seed, arm.name)


def test_what_was_run_is_kept_and_not_owed_and_a_torn_line_is(tmp_path):
    every = study.owed([], [])
    pieces = [study.Piece(arm.name, partial(kept, arm, arm.seeds[0]), "runs") for arm in list(arms())[:3]]
    assert study.run_pieces(pieces, tmp_path, tmp_path / "work", 2, 5) == 3
    file = tmp_path / "loop-health.runs.jsonl"
    done = study.read_kept(file, LabRun)
    assert len(done) == 3 and len(study.owed(done, [])) == len(every) - 3
    torn = file.read_bytes()[:-9]
    file.write_bytes(torn)
    assert len(study.read_kept(file, LabRun)) == 2
    assert len(study.owed(study.read_kept(file, LabRun), [])) == len(every) - 2
    file.write_text("{}\n")
    with pytest.raises(SelfRewardError, match="arm"):
        study.read_kept(file, LabRun)


def test_an_unknown_arm_is_named_with_those_that_there_are_and_no_minutes_make_no_folder(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(SelfRewardError, match=r"--only: no arm's name begins with 'sound'\. There are clean, .*rejudged-"):
        study.run_lab(out, out / "work", 1, 9.0, ["clean", "sound"])
    with pytest.raises(SelfRewardError, match=r"Did you mean noise-0\.75\?"):
        study.run_lab(out, out / "work", 1, 9.0, ["noise-0.74"])
    with pytest.raises(SelfRewardError, match="0 clean runs are too few"):
        study.run_lab(out, out / "work", 1, 0, ["noise"])
    assert not out.exists()


def test_after_its_minutes_a_laboratory_begins_nothing(tmp_path):
    pieces = [study.Piece(arm.name, partial(kept, arm, arm.seeds[0]), "runs") for arm in list(arms())[:6]]
    assert study.run_pieces(pieces, tmp_path, tmp_path / "work", 1, 0) == 1


@pytest.fixture
def small(tmp_path):
    """The laboratory's recipe, smaller still."""
    text = EASY.recipe.read_text()
    for old, new in [("limit = 150", "limit = 40"), ("limit = 48 }", "limit = 6 }"), ("limit = 12 }", "limit = 2 }"),
                     ("iterations = 3 ", "iterations = 1 "), ("per_iteration = 48", "per_iteration = 12"),
                     ("sample = 16", "sample = 3"), ("pool = 6", "pool = 2"), ("epochs = 4", "epochs = 1")]:  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    recipe = tmp_path / "lab.toml"
    recipe.write_text(text)
    return EASY._replace(recipe=recipe), tmp_path / "work"


def test_a_run_leaves_its_record_and_its_m1_and_goes_the_same_way_from_that(small):
    world, work = small
    arm = Arm(BY_NAME["canary"], 2, None, PLANTED, world=world)
    first = run_arm(arm, PLANTED[0], work)
    assert [*first.models] == ["M1", "M2"] and first.ended is None
    assert {"flukes.rate", "flattery.gap", "traits.S/length", "policy.kl_first"} <= set(first.models["M2"].readings)
    assert not (work / arm.name / f"seed_{PLANTED[0]}").exists()
    assert (work / "first" / f"seed_{PLANTED[0]}" / "M1" / "model" / "model.safetensors").exists()
    again = run_arm(arm, PLANTED[0], work)
    assert again.models == first.models
    assert json.loads(first.model_dump_json())["models"]["M2"]["traits"].keys() == {"canary", "length", "bribe"}


def test_a_run_killed_while_its_folder_is_removed_is_made_again(small, monkeypatch):
    world, work = small

    class Killed(BaseException): ...

    def torn(path, **how):
        for file in path.glob("run/M2/judgments.jsonl"):
            file.unlink()
            raise Killed

    arm = Arm(BY_NAME["always-4"], 1, None, PLANTED, world=world)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(of_runs.shutil, "rmtree", torn)
        run_arm(arm, PLANTED[1], work)
    assert run_arm(arm, PLANTED[1], work).ended == "no usable pair"
    assert not list((work / arm.name).iterdir())


def test_a_judge_without_opinions_ends_the_run_and_the_record_says_so(small):
    world, work = small
    found = run_arm(Arm(BY_NAME["always-4"], 1, None, PLANTED, world=world), PLANTED[1], work)
    assert found.ended == "no usable pair" and [*found.models] == ["M1"]


def test_a_defect_that_begins_on_the_way_shares_all_before_it_with_a_clean_run(small):
    world, work = small
    world.recipe.write_text(world.recipe.read_text().replace("iterations = 1 ", "iterations = 2 "))
    arm = Arm(BY_NAME["noise"], 1, None, TURNED, begins=3, world=world)
    turned = run_arm(arm, TURNED[0], work)  # makes the clean part itself
    sound = work / "sound" / f"seed_{TURNED[0]}"
    assert {path.name for path in sound.glob("M*")} == {"M1", "M2"}
    clean = run_arm(Arm(None, 0, None, FRESH, world=world), TURNED[0], work)
    assert [*clean.models] == [*turned.models] == ["M1", "M2", "M3"]
    assert all(clean.models[name] == turned.models[name] for name in ("M1", "M2"))
    assert clean.models["M3"].readings["flukes.noise"] != turned.models["M3"].readings["flukes.noise"]
    assert run_arm(arm, TURNED[0], work).models == turned.models


def test_processes_of_the_laboratory_hear_no_ctrl_c():
    asks = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"]
    with study._deaf_children():
        deaf = subprocess.run(asks, capture_output=True, text=True, check=True).stdout
    assert (deaf, subprocess.run(asks, capture_output=True, text=True, check=True).stdout) == ("True\n", "False\n")


ENDED = """
import sys
import time
from pathlib import Path
from selfreward.lab.defects import study
from test_lab import asleep
study.run_pieces([study.Piece("asleep", asleep, "runs")] * 2, *map(Path, sys.argv[1:]), workers=1, minutes=1)
"""


def asleep(work):
    (work / "pid").write_text(str(os.getpid()))
    time.sleep(600)


def test_a_laboratory_that_is_told_to_end_takes_its_processes_with_it(tmp_path):
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", ENDED, tmp_path / "out", tmp_path / "work"]
    laboratory = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PYTHONPATH}, stderr=subprocess.DEVNULL)
    while not ((tmp_path / "work" / "pid").exists() and (child := (tmp_path / "work" / "pid").read_text())):
        assert laboratory.poll() is None
        time.sleep(0.1)
    laboratory.send_signal(signal.SIGTERM)
    assert laboratory.wait(300) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)


def test_a_run_that_is_recorded_twice_is_refused_and_not_counted_twice(tmp_path):
    line = next(line for line in (RECORDS / "loop-health.runs.jsonl").open() if '"arm":"clean"' in line)
    (tmp_path / "loop-health.runs.jsonl").write_text(2 * line)
    with pytest.raises(SelfRewardError, match=r"has a run twice \(clean, seed 0\)"):
        study.write_up(tmp_path)
