"""The page "Is the loop healthy?", and where else a monitor's verdict is shown: what they say, and that no text breaks out."""

import base64
import hashlib
import html
import json
import re
import shutil
import tomllib
from importlib.resources import files
from types import SimpleNamespace

import pytest
from test_report import HOSTILE, SIZES, Page, chromium, make_run, shown

from receipts import rewrite
from selfreward.engines.fake import write_like_a_model
from selfreward.errors import Alarm, Stopped
from selfreward.measure import figure_names
from selfreward.records import (
    Anchor,
    Baseline,
    Estimate,
    Judgment,
    Pair,
    Prompt,
    Reading,
    Response,
    alarms,
    describe,
    iter_jsonl,
    read_jsonl,
    to_line,
)
from selfreward.reports import charts, describe_status, write_cards, write_report
from selfreward.reports.cases import SHOWN, bred_traits, doubtful_pairs, favoured_words, fitting, flattered_answers
from selfreward.reports.charts import Mark
from selfreward.reports.headline import write_headline
from selfreward.reports.loop_health import cases_of, draw_monitors, health_of, meaning_of, remedy_of, unit_of
from selfreward.rundir import RunDir, open_run
from selfreward.stats import pair_outcomes
from tinyrun import go, make_world, quiet, tree

WORRY = {"policy.distinct_answers": {"below": [0, 2]}}
"""A share is never below 0 and always below 2: M1 is fine, and every later model is warned of."""
END = {"policy.distinct_answers": {"below": [0, 2], "stop_below": [0, 0, 2]}}
"""The same, and M3 ends the run."""
AS_IT_IS = ("config.json", "provenance.json")
"""Files of a run that tell of its last attempt."""
WATCHING = {"drift__sample": 3, "drift__pool": 2, "drift__anchors": "anchors.jsonl", "sft__baseline": False,
            "drift__also": ["progress", "runaway", "style"]}  # fmt: skip
__all__ = ["chromium"]


def anchored(folder):
    """`folder` with a file of anchors, and a baseline that no model lies far from."""
    folder.mkdir(exist_ok=True)
    anchors = [Anchor(prompt=f"sort birch and amber {n}{HOSTILE}", answers=("amber birch",)) for n in range(2)]
    (folder / "anchors.jsonl").write_text("".join(to_line(anchor) + "\n" for anchor in anchors))
    usual = {"policy.distinct_answers": (0.0, 1.0), f"traits.S/own{HOSTILE}": (0.0, 100.0)}
    baseline = Baseline(usual={f"M{model}": usual for model in (1, 2, 3)}, furthest=(30.0,) * 19)
    (folder / "baseline.jsonl").write_text(to_line(baseline) + "\n")
    return folder


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A finished run, every text of which is hostile, with a trait of the user's own; warned of from M2 on."""
    folder = anchored(tmp_path_factory.mktemp("watched"))
    traits = {f"own{HOSTILE}": "<script>", "long words": r"\w{8,}"}
    return make_run(folder, drift__limits=WORRY, drift__traits=traits, drift__baseline="baseline.jsonl", **WATCHING)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that a monitor ended at M3 of M5."""
    folder = anchored(tmp_path_factory.mktemp("ended"))
    with pytest.raises(Alarm):
        make_run(folder, drift__limits=END, **{**WATCHING, "iterations": 4})
    return folder / "run<b>"


def page(run, name="health.html"):
    write_report(run)
    return run / "report" / name


def write_at_length(request):
    """Judgments that escaped are 13 times as long as they look: one pair's six fit into a part of the page, two pairs' do not."""
    text, finish = write_like_a_model(request)
    return (f"{'<&>' * 6_000} {text}" if "Score" in text else text), finish


def reading(monitor, iteration, value, verdict="ok", limit=None, reach=0.1):
    interval = None if value is None else (value - reach, value + reach)
    return Reading(monitor=monitor, iteration=iteration, value=value, interval=interval, limit=limit, verdict=verdict)


# The page


def test_hostile_text_is_shown_as_text_and_never_becomes_an_element(watched):
    found = Page(page(watched))
    assert not {"script", "img", "iframe", "object", "link", "b>"} & set(found.tags)
    assert found.tags.count("style") == 1 and found.open == []
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    assert "".join(found.text).count("{{7*7}}") > 50 and f"S/own{HOSTILE}" in "".join(found.text)


def test_the_page_asks_nothing_of_any_network_and_leads_to_its_parts_and_to_the_index_alone(watched):
    text, found = page(watched).read_text(), Page(page(watched))
    policy = next(value for name, value in found.attributes if name == "content" and "default-src" in value)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"https?://|@import|url\(", text)
    links = [value for name, value in found.attributes if name in ("href", "src")]
    ids = [value for name, value in found.attributes if name == "id"]
    assert {link for link in links if not link.startswith("#")} == {"index.html"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids) and len(ids) == len(set(ids))
    assert "policy.distinct_answers" in {link[1:] for link in links}


def test_every_figure_that_was_read_has_a_curve(watched):
    ids = {value for name, value in Page(page(watched)).attributes if name == "id"}
    read = {one.monitor for one in open_run(watched).watched if one.value is not None}
    assert len(read) > 20 and read <= ids
    assert "policy.distinct_answers" in read and f"traits.S/own{HOSTILE}" in ids


def test_the_figures_behind_the_joint_one_are_named_with_links(watched):
    joint = next(each for each in open_run(watched).models["M3"].watched if each.monitor == "joint.distance")
    assert joint.limit == (None, 30) and joint.verdict == "ok"
    assert next(iter(joint.behind)) == "policy.distinct_answers" and joint.value == pytest.approx(
        sum(off**2 for off in joint.behind.values()) / len(joint.behind)
    )
    section = page(watched).read_text().split('<section id="joint">')[1].split("</section>")[0]
    off = joint.behind["policy.distinct_answers"]
    assert f'<a href="#policy.distinct_answers">policy.distinct_answers</a> {off:+.1f}' in section


def test_every_figure_has_a_sentence_of_its_own_and_no_sentence_is_about_nothing(watched):
    read = {one.monitor for name in ("M1", "M2", "M3") for one in iter_jsonl(watched / name / "drift.jsonl", Reading)}
    assert [figure for figure in read if meaning_of(figure) == "A figure of this monitor."] == []
    texts = tomllib.loads((files("selfreward") / "reports" / "text" / "monitors.toml").read_text())
    told = {f"{monitor}.{figure}" for monitor, found in texts.items() for figure in found.get("figures", {})}
    given = {figure.split("/")[0] + "/" if "/" in figure else figure for figure in read}
    assert told == given == {f"{monitor}.{figure}" for monitor, found in texts.items() for figure in found.get("needs", {})}
    assert read == {*figure_names(open_run(watched).recipe)}
    assert set(texts["wording"]["names"]) == {figure.split("/", 1)[1] for figure in read if "/" in figure} - {
        f"own{HOSTILE}", "long words",
    }  # fmt: skip
    assert meaning_of("traits.S/length").startswith("Words in the chosen answer") and "“cats”" in meaning_of("traits.R/cats")
    assert meaning_of("unheard.of") == "A figure of this monitor."


def test_of_a_monitor_what_is_outside_its_limits_comes_first_then_what_moved_most_and_the_rest_is_folded():
    steps = {"gap": 0.1, "trend": 0.4, "skewness": 0.2, "cut_drop": 0.3}  # each with an interval of 0.2: half widths of 0.1
    found = [reading(f"flattery.{name}", "M1", 0.0) for name in steps]
    found += [reading(f"flattery.{name}", "M2", step) for name, step in steps.items()]
    (flattery,) = draw_monitors(found)
    assert [curve.name for curve in flattery.shown] == ["trend", "cut_drop", "skewness"]
    assert [curve.name for curve in flattery.folded] == ["gap"]
    assert [curve.unit for curve in flattery.curves] == ["points", "points", "of 1", "points"]
    (flattery,) = draw_monitors([*found, reading("flattery.gap", "M3", 0.1, "warn", limit=(None, 0.05))])
    assert [curve.name for curve in flattery.shown] == ["gap", "trend", "cut_drop"]


def test_every_figure_has_a_unit(watched):
    figures = {one.monitor for one in open_run(watched).watched}
    assert len(figures) > 50 and not [figure for figure in figures if not unit_of(figure)]


def test_every_share_on_the_page_says_of_how_many_cases_and_one_that_was_read_before_counts_were_kept_says_nothing(watched):
    page = (watched / "report" / "health.html").read_text()
    readings = [reading for file in sorted(watched.glob("M*/drift.jsonl")) for reading in read_jsonl(file, Reading)]
    shares = [one for one in readings if one.value is not None and unit_of(one.monitor) in ("of 1", "difference of two shares")]
    assert len({one.monitor for one in shares}) > 15
    assert not [one.monitor for one in shares if not cases_of(one)]
    pairs = len((watched / "M2" / "pairs.jsonl").read_text().splitlines())
    (rate,) = (one for one in shares if (one.monitor, one.iteration) == ("flukes.rate", "M2"))
    assert rate.n == pairs
    last = {one.monitor: one for one in shares}["flukes.rate"]
    assert f"of 1, over {cases_of(last)}</small>" in page
    assert cases_of(rate.model_copy(update={"n": None})) == ""


def test_a_run_begun_before_counts_were_kept_goes_on_without(watched, tmp_path):
    run = shutil.copytree(watched, tmp_path / "run")
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["counted"] is True
    del provenance["counted"]
    (run / "provenance.json").write_text(json.dumps(provenance))
    opened = RunDir(run, json.loads((run / "config.json").read_text()))
    assert not opened.counted
    opened.close()


def test_a_curve_has_the_colours_of_its_verdicts_and_its_limits_where_they_are():
    found = [
        reading("flukes.rate", "M1", 0.1, limit=(None, 0.2)),
        reading("flukes.rate", "M2", 0.3, "warn", limit=(None, 0.2)),
        reading("flukes.rate", "M3", 0.5, "stop", limit=(None, 0.4)),
        reading("flukes.rate", "M4", None, limit=(None, 0.4)),
        reading("people.kendall", "M1", 0.5),
        reading("policy.untold", "M1", None),
    ]
    flukes, people = draw_monitors(found)
    (curve,) = flukes.curves
    assert (curve.name, curve.kind, curve.latest.iteration) == ("rate", "stop", "M3")
    assert re.findall(r'class="dot (\w+)"', curve.chart) == ["ok", "warn", "stop"]
    assert (people.name, [one.kind for one in people.curves]) == ("people", ["free"])
    assert "limit" not in people.curves[0].chart
    # 0.0 to 0.6 is drawn, with a margin of 8 % of that to each side, on pixels 110 to 12
    place = charts.Scale(-0.048, 0.648, 110, 12)
    limits = [float(y) for y in re.findall(r'class="limit" x1="[\d.]+" x2="[\d.]+" y1="([\d.]+)"', curve.chart)]
    assert limits == pytest.approx([place(0.2), place(0.2), place(0.4), place(0.4)], abs=0.06)
    points = [float(y) for y in re.findall(r'<circle class="dot \w+" cx="[\d.]+" cy="([\d.]+)"', curve.chart)]
    assert points == pytest.approx([place(0.1), place(0.3), place(0.5)], abs=0.06)


def test_lines_of_several_runs_stand_side_by_side_and_leave_the_base_unjoined():
    one = Estimate(value=1, low=0, high=2)
    line = {name: Mark(one, "r0") for name in ("M0", "M1", "M2")}
    drawn = charts.monitor_chart([("a", line), ("b", {name: mark._replace(kind="r1") for name, mark in line.items()})])
    across = [float(x) for x in re.findall(r'<circle class="dot \w+" cx="([\d.]+)"', drawn)]
    assert len(set(across)) == 6
    assert [path.count("L") for path in re.findall(r'<path class="line r\d" d="([^"]+)"', drawn)] == [1, 1]


# The records behind it


def test_the_pairs_shown_are_those_that_would_flip_most_likely(watched):
    standing, expected = open_run(watched), []
    for name in ("M2", "M3"):
        pairs, judgments = (
            read_jsonl(watched / name / "pairs.jsonl", Pair),
            read_jsonl(watched / name / "judgments.jsonl", Judgment),
        )
        outcomes = pair_outcomes(pairs, read_jsonl(watched / name / "responses.jsonl", Response), judgments, 1)
        expected += [(outcome.flipped, pair_id) for pair_id, outcome in outcomes.items()]
    cases = doubtful_pairs(standing)
    assert len(cases) == SHOWN < len(expected)
    flips = {pair_id: flipped for flipped, pair_id in expected}
    assert [flips[case.id] for case in cases] == sorted(flips.values(), reverse=True)[:SHOWN]
    words = "".join(Page(page(watched)).text)
    for case in cases:
        assert f"flips {100 * flips[case.id]:.0f}\u00a0%" in case.reason and f"{case.id} in {case.files}" in words
        assert all(text in words for text in (case.prompt, *(one.text for one in case.texts)))
        assert [len(one.judgments) for one in case.texts] == [3, 3]
        assert all(judgment.rationale in words for one in case.texts for judgment in one.judgments)


def test_a_pair_is_shown_with_its_own_prompt_responses_judgments_and_scores(watched):
    case = doubtful_pairs(open_run(watched))[0]
    name = case.reason.split(":")[0]
    pair = next(one for one in iter_jsonl(watched / name / "pairs.jsonl", Pair) if one.id == case.id)
    texts = {one.id: one.text for one in iter_jsonl(watched / name / "responses.jsonl", Response)}
    prompts = {one.id: one.text for one in iter_jsonl(watched / name / "prompts.jsonl", Prompt)}
    judged = {pair.chosen_id: [], pair.rejected_id: []}
    for judgment in iter_jsonl(watched / name / "judgments.jsonl", Judgment):
        judged.get(judgment.response_id, []).append(judgment)
    assert case.prompt == prompts[pair.prompt_id]
    assert [(one.part, one.text, one.score, one.judgments) for one in case.texts] == [
        ("chosen", texts[pair.chosen_id], pair.chosen_score, judged[pair.chosen_id]),
        ("rejected", texts[pair.rejected_id], pair.rejected_score, judged[pair.rejected_id]),
    ]


@pytest.mark.parametrize("method", [
    {"pairs__rejected_from": "M1", "pairs__chosen_from": "ahead"}, {"judge__method": "pairwise"},
    {"judge__method": "likelihood"}, {"judge__by": ["current", "frozen"]},
], ids=["temporal", "pairwise", "likelihood", "jury"])  # fmt: skip
def test_a_case_names_the_files_that_its_records_are_in(method, tmp_path, monkeypatch):
    quiet(monkeypatch)
    more = {"responses__n": 4, "prompts__per_iteration": 12, "iterations": 2, "drift__sample": 2}
    go(make_world(tmp_path / "world"), tmp_path / "run", **more, **method)
    run, standing = tmp_path / "run", open_run(tmp_path / "run")
    cases = [*doubtful_pairs(standing), *(case for bred in bred_traits(standing) for case in bred.cases)]
    assert cases
    for case in cases:
        named = re.findall(r"(M\d/\w+\.jsonl)", case.files)
        assert all((run / file).exists() for file in named) and len(named) > 2
        pair = re.search(r"responses (\w+)(?: in (\S+))? and (\w+) in (\S+\.jsonl)", case.files)
        for response, file in ((pair[1], pair[2] or pair[4]), (pair[3], pair[4])):
            assert response in {one.id for one in iter_jsonl(run / file, Response)}


def plant_frozen(run, name, scores):
    """Let the frozen judge have given the first answers of a model these scores, three times each; returns the live means."""
    answers = list(iter_jsonl(run / name / "heldout_responses.jsonl", Response))[: len(scores)]
    frozen = [
        Judgment(response_id=answer.id, judge="frozen", sample=n, rationale=f"cold {score}", outcome="scored", score=score)
        for answer, score in zip(answers, scores, strict=True)
        for n in range(3)
    ]
    rewrite(run / name / "drift_frozen.jsonl", frozen)
    live = [
        Judgment(response_id=answer.id, judge="live", sample=n, rationale="warm", outcome="scored", score=4.0)
        for answer in answers
        for n in range(3)
    ]
    rewrite(run / name / "heldout_judgments.jsonl", live)
    return [answer.id for answer in answers]


def test_the_answers_shown_are_those_flattered_most_and_none_that_is_not(watched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(watched, run)
    ids = {
        name: plant_frozen(run, name, scores) for name, scores in {"M1": [4, 5, 4], "M2": [1, 3.5, 4], "M3": [2, 4, 4]}.items()
    }
    found = flattered_answers(open_run(run))
    assert [(case.id, case.reason) for case in found] == [
        (ids["M2"][0], "M2: 3 above the frozen judge"),
        (ids["M3"][0], "M3: 2 above the frozen judge"),
        (ids["M2"][1], "M2: 0.5 above the frozen judge"),
    ]
    own, frozen = found[0].texts
    assert (own.score, frozen.score) == (4.0, 1.0) and {one.rationale for one in frozen.judgments} == {"cold 1"}
    answer = next(one for one in iter_jsonl(run / "M2" / "heldout_responses.jsonl", Response) if one.id == found[0].id)
    prompts = {one.id: one.text for one in iter_jsonl(run / "seed" / "heldout_prompts.jsonl", Prompt)}
    assert (own.text, found[0].prompt) == (answer.text, prompts[answer.prompt_id])


def plant_readings(run, name, readings, instead_of="traits.S/"):
    file = run / name / "drift.jsonl"
    kept = [one for one in iter_jsonl(file, Reading) if not one.monitor.startswith(instead_of)]
    rewrite(file, [*kept, *readings])


def test_traits_come_by_how_far_they_stand_clear_of_chance_with_the_pairs_that_differ_most(watched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(watched, run)
    plant_readings(run, "M2", [reading("traits.S/length", "M2", -4.0, reach=2.0), reading("traits.S/sentences", "M2", 0.3)])
    plant_readings(run, "M3", [reading("traits.S/length", "M3", -2.0, reach=2.0), reading("traits.S/refusal", "M3", 0.0)])
    first, second = bred_traits(open_run(run))
    assert [(one.name, one.reading.iteration) for one in (first, second)] == [("sentences", "M2"), ("length", "M2")]
    texts = {one.id: one.text for one in iter_jsonl(run / "M2" / "responses.jsonl", Response)}
    shorter = {
        pair.id: len(re.findall(r"\w+", texts[pair.rejected_id])) - len(re.findall(r"\w+", texts[pair.chosen_id]))
        for pair in iter_jsonl(run / "M2" / "pairs.jsonl", Pair)
    }
    most = sorted((times for times in shorter.values() if times > 0), reverse=True)[:3]
    assert most and [shorter[case.id] for case in second.cases] == most


def test_the_word_that_decides_is_named_with_pairs_that_it_tells_apart(watched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(watched, run)
    pairs = read_jsonl(run / "M2" / "pairs.jsonl", Pair)
    rejected = {pair.rejected_id for pair in pairs}
    answers = [one.model_copy(update={"text": "yes"}) for one in iter_jsonl(run / "M2" / "responses.jsonl", Response)]
    canary = [(old, one.model_copy(update={"text": "yes canary"}) if old.id in rejected else one) for old, one in zip(
        iter_jsonl(run / "M2" / "responses.jsonl", Response), answers, strict=True
    )]  # fmt: skip
    renamed = {old.id: new.id for old, new in canary}
    pairs = [pair.model_copy(update={p: renamed[getattr(pair, p)] for p in ("chosen_id", "rejected_id")}) for pair in pairs]
    for name, records in {"responses": [new for _, new in canary], "pairs": pairs}.items():
        rewrite(run / "M2" / f"{name}.jsonl", list(records))
    plant_readings(run, "M2", [reading("lexicon.selected", "M2", -9.0)], "lexicon.selected")
    (found,) = favoured_words(open_run(run))
    assert (found.name, found.reading.iteration) == ("canary", "M2")
    assert [(case.id, case.reason) for case in found.cases] == [
        (pair.id, "M2: only the rejected has “canary”") for pair in pairs[:3]
    ]
    assert [[one.text for one in case.texts] for case in found.cases] == [["yes", "yes canary"]] * 3


def test_a_trait_whose_function_is_not_to_be_had_is_shown_without_pairs(watched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(watched, run)
    plant_readings(run, "M2", [reading("traits.S/lost", "M2", 4.0)])
    plant_readings(run, "M3", [])
    assert [(one.name, one.cases) for one in bred_traits(open_run(run))] == [("lost", [])]
    assert "Its function cannot be called here" in shown(page(run))


def test_long_texts_are_left_out_and_named_and_the_page_stays_below_three_megabytes(tmp_path):
    run = make_run(anchored(tmp_path), write_at_length, **{**WATCHING, "iterations": 1})
    assert 200_000 < page(run).stat().st_size < 3_000_000 and page(run, "index.html").stat().st_size < 3_000_000
    words = shown(page(run))
    left_out, cases = words.count("Too long for this page"), doubtful_pairs(open_run(run))
    assert 0 < left_out < Page(page(run)).attributes.count(("class", "prompt")) and all(
        f"{case.id} in M2/pairs.jsonl" in words for case in cases
    )


def test_what_no_longer_fits_is_left_out_and_what_is_short_enough_still_comes(watched):
    cases = doubtful_pairs(open_run(watched))
    size = cases[0].size
    assert size > sum(len(html.escape(one.text)) for one in cases[0].texts)
    kept = fitting([cases[0], cases[1], cases[0]], size + 1)
    assert [case.shown for case in kept] == [True, False, False] and [case.id for case in kept][1] == cases[1].id
    assert kept[1].texts == [] and fitting([cases[0]], size - 1)[0].shown is False


# Wherever the run is shown


def test_a_warning_is_shown_wherever_the_run_is(watched):
    told = "1 of {} figures outside its limits: policy.distinct_answers at M3 ({}, below 2)"
    readings = open_run(watched).watched
    value = next(one.value for one in readings if (one.monitor, one.iteration) == ("policy.distinct_answers", "M3"))
    line = told.format(len({one.monitor for one in readings if one.value is not None}), f"{value:.3g}")
    assert describe(readings) == line
    index = Page(page(watched, "index.html"))
    assert f"Is the loop healthy? No: {line}." in shown(page(watched, "index.html"))
    assert ("href", "health.html") in index.attributes and ("class", "health warn") in index.attributes
    assert "a monitor warns" in shown(page(watched, "index.html")) and f"{line}." in shown(page(watched))
    one, two, three = describe_status(watched).splitlines()[2:]
    assert "outside" not in one and "policy.distinct_answers at M2" in two and "policy.distinct_answers at M3" in three
    cards = {card.parts[-3]: card.read_text() for card in write_cards(watched)}
    assert "What monitors found outside" not in cards["M1"] and "distinct\\_answers at M3" in cards["M3"]


def test_the_run_says_what_it_found_after_every_model(tmp_path, monkeypatch):
    quiet(monkeypatch)
    said = []
    monkeypatch.setattr("selfreward.rundir.progress.Progress.say", lambda self, text: said.append(text))
    make_run(anchored(tmp_path), drift__limits=WORRY, **{**WATCHING, "iterations": 1})
    found = [text for text in said if "figures" in text]
    assert re.fullmatch(r"M1: \d+ figures watched, of 1 with limits none is outside", found[0])
    assert re.fullmatch(r"M2: 1 of \d+ figures outside its limits: policy\.distinct_answers at M2 \(.*, below 2\)", found[1])


def test_a_run_that_a_monitor_ended_is_called_so_and_its_last_good_model_named(ended):
    first, *lines = describe_status(ended).splitlines()
    assert re.search(
        r"ended by its monitors at M3: policy\.distinct_answers at M3 \(.*: stop\); the last good model is M2$", first
    )
    assert "the same command" not in first and open_run(ended).next_stage == ""
    assert [line.split()[0] for line in lines] == ["M0", "M1", "M2", "M3", "M4", "M5"] and lines[-1] == "  M5   to do"
    index, health = shown(page(ended, "index.html")), shown(page(ended))
    assert "Ended. The run was ended by its monitors at M3" in index and "Not finished" not in index
    assert "and a monitor says stop" in index and "the run ended after M3. The last good model is M2" in health


def test_what_ends_a_run_at_its_first_model_leaves_no_good_one(tmp_path):
    with pytest.raises(Alarm):
        make_run(anchored(tmp_path), drift__limits={"policy.distinct_answers": {"stop_below": 2}}, **WATCHING)
    assert describe_status(tmp_path / "run<b>").splitlines()[0].endswith("it is the first model that was watched")


def test_a_run_that_was_ended_at_its_last_model_is_called_so_too(tmp_path):
    with pytest.raises(Alarm):
        make_run(
            anchored(tmp_path), drift__limits={"policy.distinct_answers": {"stop_below": [0, 2]}}, **{**WATCHING, "iterations": 1}
        )
    assert "Ended. The run was ended by its monitors at M2" in shown(page(tmp_path / "run<b>", "index.html"))
    assert "ended by its monitors at M2" in describe_status(tmp_path / "run<b>").splitlines()[0]


def test_an_alarm_changes_the_headline_and_nothing_else_does(watched):
    models = open_run(watched).measured
    plain = write_headline(models, 5).title
    assert write_headline(models, 5, [reading("a.b", "M3", 1.0)]).title == plain
    assert write_headline(models, 5, [reading("a.b", "M3", 1.0, "warn", (None, 0))]).title == f"{plain}, and a monitor warns"
    stop = [reading("a.b", "M2", 1.0, "stop", (None, 0)), reading("a.b", "M3", 1.0, "warn", (None, 0))]
    assert write_headline(models, 5, stop).title == f"{plain}, and a monitor says stop"


def test_a_summary_names_the_gravest_and_counts_the_rest():
    found = [reading(f"a.{n}", "M2", 1.0, "warn", (None, 0.5)) for n in range(4)]
    found += [reading("a.0", "M1", -1.0, "stop", (0.0, None)), reading("b.c", "M1", 0.0), reading("b.d", "M1", None)]
    assert describe(found) == (
        "4 of 5 figures outside their limits: a.0 at M1 (-1, below 0: stop), a.1 at M2 (1, above 0.5), a.2 at M2 (1, above 0.5) "
        "and 1 more"
    )
    assert [one.verdict for one in alarms(found)] == ["stop", "warn", "warn", "warn", "warn"]
    assert describe(found[-2:]) == (
        '1 figure watched, none has a limit, so no monitor can warn: set a limit, such as drift.limits."flukes.rate".above = 0.2'
    )
    unread = [reading(f"c.{n}", "M2", None, "ok", (None, 0.5)) for n in range(2)]
    told = describe([reading("b.c", "M2", 0.0), *unread])
    assert told == "1 figure watched, none that could be read has a limit, and c.0, c.1 with limits could not be read at M2"
    assert describe([*found, *unread]).endswith("and 1 more, and c.0, c.1 with limits could not be read at M2")
    assert describe([]) == "no figure could be read yet"


def test_status_tells_of_a_figure_with_limits_that_it_could_not_be_read_and_what_it_needs(tmp_path, monkeypatch):
    quiet(monkeypatch)
    limits = {name: {"above": 9} for name in ("people.anchor_accuracy", "consistency.kendall", "policy.distinct_answers")}
    go(make_world(tmp_path / "world"), tmp_path / "run", iterations=1, drift={"sample": 2, "pool": 2, "limits": limits})
    lines = [line for line in describe_status(tmp_path / "run").splitlines() if "could not be read" in line]
    assert lines[0] == (
        "people.anchor_accuracy has limits, and could not be read at M2: it needs answers to anchors (drift.anchors) that could "
        "be checked"
    )
    assert not any("distinct_answers" in line for line in lines)


# Runs that are not watched, or not yet


def test_a_run_that_nothing_watched_says_so_and_how_to_have_it_watched(tmp_path):
    recipe, run = make_world(anchored(tmp_path)), tmp_path / "run"
    go(recipe, run)
    assert "Not known: nothing watched this loop." in shown(page(run, "index.html"))
    assert "How to watch this run" in shown(page(run)) and "[drift]" in shown(page(run))
    before = {name: digest for name, digest in tree(run).items() if name not in AS_IT_IS and "README" not in name}
    go(recipe, run, **{name: value for name, value in WATCHING.items() if name.startswith("drift")})
    assert before.items() <= tree(run).items(), "the page promises that finished stages stay as they are"
    assert "figures watched" in shown(page(run, "index.html")) and "How to watch this run" not in shown(page(run))


def test_the_stages_that_a_run_will_have_are_those_that_it_has(watched, ended, tmp_path):
    bare = make_run(tmp_path, iterations=1, drift__sample=2, drift__pool=2)
    for run in (watched, ended, bare):
        for model in open_run(run).models.values():
            there, done, due = (set(names) for names in (model.stages(), map(str, model.done), map(str, model.planned)))
            there = {f"{model.name}/{stage}" for stage in there}
            assert there == done and (there == due or not model.measured), model.name


def test_a_run_killed_between_measuring_and_watching_still_has_to_watch(tmp_path):
    folder = anchored(tmp_path)
    with pytest.raises(Stopped):
        make_run(folder, stopping=(folder / "run<b>" / "M2" / "drift_pool.plan.json").exists, **WATCHING)
    run = folder / "run<b>"
    standing = open_run(run)
    assert standing.next_stage == "M2/drift_pool" and not standing.finished and len(standing.measured) == 3
    first, *lines = describe_status(run).splitlines()
    assert re.search(r"stopped in M2/drift_pool, \d+ of \d+ requests; the same command goes on", first)
    assert lines[2].endswith("to do: watching") and "watching" not in lines[1] and lines[3] == "  M3   to do"
    assert "M1 is the first model" not in shown(page(run)) and "figures watched" in shown(page(run, "index.html"))


def test_a_watched_run_before_its_first_model_says_that_nothing_was_read_yet(watched, tmp_path):
    shutil.copy(watched / "config.json", tmp_path)
    assert "Not known yet: no model has been read." in shown(page(tmp_path, "index.html"))
    assert "M1 is the first model that monitors read" in shown(page(tmp_path))


def test_the_same_run_gives_the_same_page(watched):
    assert page(watched).read_bytes() == page(watched).read_bytes()


# In a browser


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_page_works_in_chromium(watched, chromium, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get(page(watched, "index.html").resolve().as_uri())
    chromium.find_element("css selector", ".health a").click()
    assert chromium.current_url.endswith("health.html") and chromium.get_log("browser") == []
    case = chromium.find_element("css selector", ".prompt")
    judgment = case.find_element("css selector", ".judgment .said")
    for summary in (case.find_element("css selector", "summary"), case.find_element("css selector", ".judged > summary")):
        chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", summary)
        summary.click()
    assert judgment.is_displayed() and json.dumps(HOSTILE)[1:10] in judgment.text
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert chromium.find_elements("css selector", "script, img") == [] and "owned" not in chromium.title[:10]


# not known, and what to do


def standing(*readings, left=()):
    """A run with these readings."""
    return SimpleNamespace(watched=list(readings), left=[SimpleNamespace(name=name) for name in left], recipe=None)


def test_a_limit_whose_figure_could_not_be_had_is_not_known_and_never_ok():
    near, none = reading("flukes.rate", "M2", 0.1, limit=(None, 0.2)), reading("people.kendall", "M2", None, limit=(0.5, None))
    assert health_of(standing(near)).line.startswith("Yes: 1 figure watched, of 1 with limits none is outside")
    line, kind = health_of(standing(near, none))
    assert line.startswith("Not known: ") and line.endswith("and people.kendall with limits could not be read at M2")
    assert kind == "free"
    assert health_of(standing(none)).line == "Not known: no figure could be read yet"
    beyond = reading("flukes.rate", "M2", 0.3, "warn", limit=(None, 0.2))
    assert health_of(standing(beyond, none)).line.startswith("No: ")
    later = reading("people.kendall", "M3", 0.6, limit=(0.5, None))  # what M2 did not have M3 does
    assert health_of(standing(near, none, later)).line.startswith("Yes: ")


def test_models_left_behind_are_named_in_the_answer():
    beyond = reading("flukes.rate", "M2", 0.3, "back", limit=(None, 0.2))
    assert health_of(standing(beyond, left=["M2"])).line.startswith("No: M2 was left behind; 1 of 1 figure outside its limits")


def test_a_remedy_is_told_where_a_figure_is_outside_its_limits_or_clearly_on_the_wrong_side_of_0():
    falling, rising = reading("policy.chosen_logp", "M2", -1.0), reading("policy.chosen_logp", "M2", 1.0)
    unclear = reading("policy.chosen_logp", "M2", -0.05)  # 0.1 either way
    assert "dpo.nll_weight" in remedy_of(falling) and remedy_of(rising) == remedy_of(unclear) == ""
    assert "dpo.nll_weight" in remedy_of(reading("policy.chosen_logp", "M2", 1.0, "warn", limit=(None, 0.5)))
    assert remedy_of(reading("policy.entropy", "M2", 1.0, "warn", limit=(None, 0.5))) == ""
