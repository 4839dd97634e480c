"""The page and `selfreward status`: what they say, that they say it of unfinished runs too, and that no text breaks out."""

import base64
import fcntl
import hashlib
import html
import json
import random
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from receipts import rewrite
from selfreward.engines.fake import FakeModel, write_like_a_model
from selfreward.errors import SelfRewardError, Stopped
from selfreward.recipe import JudgeConfig
from selfreward.records import Estimate, Example, Judgment, Measured, Pair, Prompt, Response, Verdict, iter_jsonl
from selfreward.reports import Scale, describe_status, write_report
from selfreward.reports.browse import SHOWN, sample
from selfreward.reports.charts import percent, ticks
from selfreward.reports.headline import write_headline
from selfreward.reports.render import _environment, said
from selfreward.reports.status import _outside as describe_outside
from selfreward.rundir import FolderReader
from tinyrun import go, make_world

SCRIPT = "<script>alert(1)</script>"
HOSTILE = f"""{SCRIPT}"><img src=x onerror="document.title='owned'">{{{{7*7}}}}</details></svg><style>*{{display:none}}</style>"""
VOID = {"meta", "input", "br", "link", "img"}
SIZES = [(1280, 800), (390, 844)]
BIG = {"prompts__per_iteration": 12, "prompts__max_rouge_l": 1.0, "prompts__unsuited": [], "responses__n": 3, "iterations": 2}


def truth(prompt, response):
    """Longer is better; kind and criterion are as hostile as the rest."""
    return HOSTILE, {f"words{HOSTILE}": min(5.0, float(len(response.split()) % 6))}


def write_hostile(request):
    text, finish = write_like_a_model(request)
    return (text.replace("\n", f" {HOSTILE}\n", 1) if "\n" in text else f"{HOSTILE} {text}"), finish


def write_at_length(request):
    text, finish = write_like_a_model(request)
    return (f"{'<&>' * 20_000} {text}" if "Score" in text else text), finish


def make_run(folder, write=write_hostile, stopping=lambda: False, **changes):
    """A run in `folder` whose models write by `write`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfreward.engines.opening.FakeModel", lambda: FakeModel(write))
        run = folder / "run<b>"
        go(make_world(folder), run, stopping, **{"measure__truth": "test_report:truth", "sft__baseline": True, **BIG, **changes})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, every text of which is hostile."""
    made = make_run(tmp_path_factory.mktemp("report"))
    rng = random.Random(0)
    for name in ("SFT", "M1", "M2", "M3"):
        keys = ("loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")[: 5 if name > "M1" else 1]
        logged = [{"step": step, "epoch": 0.1, **{key: rng.gauss(0, 1) for key in keys}} for step in range(1, 400)]
        lines = [{"tokens": 1000, "padding": 0.087}, *logged]
        (made / name / "model" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return made


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was asked to end while M1's answers were judged for M2."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Stopped):
        make_run(folder, stopping=(folder / "run<b>" / "M2" / "judgments.plan.json").exists)
    return folder / "run<b>"


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text, and whether the elements nest."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open, self.rows, self.text = [], [], [], [], []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open += [] if tag in VOID else [tag]
        self.rows += [[]] if tag == "tr" else []
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text.append(text)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text

    def table(self, number, model):
        """The cells of the row of `model` in the table with this number."""
        return [row for row in self.rows if row[0].strip() == model][number - 1]


def first_words(cells):
    """What the cells begin with: the value, before its interval."""
    return [(cell.split() or [""])[0] for cell in cells]


def shown(page):
    """The words of a page, one space between them."""
    return " ".join("".join(Page(page).text).split())


def measured(run):
    """`summary.json`, by model."""
    return {model["name"]: model for model in json.loads((run / "summary.json").read_text())["models"]}


# What is written


def test_hostile_text_is_shown_as_text_and_never_becomes_an_element(run):
    page = Page(write_report(run))
    assert not {"script", "img", "iframe", "object", "link", "b>"} & set(page.tags)
    assert page.tags.count("style") == 1 and page.open == []
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    words = "".join(page.text)
    for stage, field, kind in (("responses", "text", Response), ("judgments", "rationale", Judgment)):
        wanted = {getattr(record, field) for record in iter_jsonl(run / "M2" / f"{stage}.jsonl", kind)}
        assert sum(text in words for text in wanted) == len(wanted), stage
    assert words.count("{{7*7}}") > 100


TEXT = """Here it is:

```python
for n in range(9):
    print("<b>", n)
```
Or `so`, as a table | of two:
| a | b |
|---|---|
| 1 | 2 |
+---+---+
and | no table
~~~~
```
~~~
~~~~
- done
```
to the end"""


def test_code_and_tables_keep_their_lines_and_every_word_stays_in_its_place():
    page = str(said(TEXT))
    wide = re.findall(r'<span class="wide" tabindex="0">(.*?)</span>', page, re.DOTALL)
    assert [html.unescape(part) for part in wide] == [
        '```python\nfor n in range(9):\n    print("<b>", n)\n```\n',
        "| a | b |\n|---|---|\n| 1 | 2 |\n+---+---+\n",
        "~~~~\n```\n~~~\n~~~~\n",
        "```\nto the end",
    ]
    assert html.unescape(re.sub(r"</?span[^>]*>", "", page)) == TEXT and "<b>" not in page
    assert str(said("plain\nwords")) == "plain\nwords" and str(said("")) == ""


def test_hostile_text_in_a_chart_stays_in_its_attribute(run):
    spoken = [value for name, value in Page(write_report(run)).attributes if name == "aria-label"]
    assert spoken and not any("<" in value for value in spoken)
    assert html.escape(HOSTILE) in write_report(run).read_text().replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


def test_the_page_asks_nothing_of_any_network_and_forbids_it(run):
    page = write_report(run).read_text()
    parsed = Page(run / "report" / "index.html")
    policy = next(value for name, value in parsed.attributes if name == "content" and "default-src" in value)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    links = {value for name, value in parsed.attributes if name in ("href", "src") and not value.startswith("#")}
    assert links == {"health.html"}
    assert not re.search(r"https?://|@import|url\(", page)


def test_the_tables_hold_the_figures_of_the_summary(run):
    page = Page(write_report(run))
    for name, model in measured(run).items():
        following, judging = page.table(1, name), model["reward_modeling"]
        expected = [f"{model['true_score']:.2f}", f"{model['self_score']['value']:.2f}", f"{model['answer_length']:.0f}"]
        assert first_words([*following[1:3], following[-1]]) == expected
        shares = [judging[key] for key in ("pairwise_accuracy", "pairwise_accuracy_strict", "five_best", "exact_match")]
        expected = [f"{100 * share['value']:.1f}" if share else "–" for share in shares]
        assert first_words(page.table(2, name)[1:5]) == expected
        assert page.table(2, name)[7].split()[0] == f"{100 * judging['unparsed']:.1f}"


def test_head_to_heads_are_shares_of_what_could_be_compared(run):
    page, model = Page(write_report(run)), measured(run)["M3"]
    row = page.table(1, "M3")
    told = {(found["against"], found["judge"]): found for found in model["head_to_head"]}
    for cell, key in zip(row[3:7], [("M2", "truth"), ("M2", "M3"), ("SFT", "truth"), ("SFT", "M3")], strict=True):
        counts = [told[key][part] for part in ("wins", "ties", "losses")]
        assert f"vs {key[0]}" in cell
        assert " / ".join(f"{100 * count / sum(counts):.1f}" for count in counts) in cell


def test_every_prompt_leads_to_its_pair_or_to_the_reason_against_one(run):
    words, pairs = shown(write_report(run)), list(iter_jsonl(run / "M2" / "pairs.jsonl", Pair))
    found = sample(FolderReader(run / "M2"), JudgeConfig(min_valid=1), budget=10**7)
    assert [browsed.prompt.id for browsed in found.browsed] == sorted(
        p.id for p in iter_jsonl(run / "M2" / "prompts.jsonl", Prompt)
    )
    assert {browsed.pair.id for browsed in found.browsed if browsed.pair} == {pair.id for pair in pairs}
    assert all(browsed.pair or browsed.reason for browsed in found.browsed)
    for pair in pairs:
        assert f"{pair.chosen_score:.3g} over {pair.rejected_score:.3g}" in words
    shares = [candidate.score for browsed in found.browsed for candidate in browsed.candidates if candidate.part == "chosen"]
    assert sorted(shares) == sorted(pair.chosen_score for pair in pairs)


def test_the_way_round_of_a_pair_is_told_by_the_truth_and_not_by_the_judge(run, tmp_path):
    copy = tmp_path / "M2"
    shutil.copytree(run / "M2", copy)
    pair = next(iter_jsonl(copy / "pairs.jsonl", Pair))
    for chosen, rejected, way in ((5, 1, "right"), (1, 5, "wrong"), (2, 2, "equal")):
        points = ((pair.chosen_id, chosen), (pair.rejected_id, rejected))
        verdicts = [Verdict(response_id=name, kind="task", points={"all": float(value)}) for name, value in points]
        rewrite(copy / "truth.jsonl", verdicts)
        ways = {
            browsed.pair.id: browsed.way
            for browsed in sample(FolderReader(copy), JudgeConfig(min_valid=1), 10**7).browsed
            if browsed.pair
        }
        assert ways.pop(pair.id) == way and set(ways.values()) == {"untold"}


def test_long_judgments_leave_prompts_out_and_keep_the_page_below_three_megabytes(tmp_path):
    run = make_run(tmp_path, write_at_length, iterations=1)
    page = write_report(run)
    assert 200_000 < page.stat().st_size < 3_000_000
    kept, there = re.search(r"(\d+) of (\d+) prompts, those with the lowest content ids", shown(page)).groups()
    assert 0 < int(kept) < int(there) == len(list(iter_jsonl(run / "M2" / "prompts.jsonl", Prompt))) <= SHOWN


def test_a_prompt_that_fits_no_page_is_said_to_be_left_out(run):
    assert (
        sample(FolderReader(run / "M2"), JudgeConfig(), budget=10).browsed == []
        and sample(FolderReader(run / "M0"), JudgeConfig(), budget=10) is None
    )


def test_the_same_run_gives_the_same_page(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


class Shares(HTMLParser):
    """Every percentage on a page with the words around it: those of its block, of its row and column, or of its figure."""

    BLOCKS = ("td", "th", "p", "li", "dd", "h3", "h4", "figcaption", "summary", "title", "text")

    def __init__(self, page):
        super().__init__()
        self.open, self.found, self.columns, self.row, self.figure, self.heading = [], [], [], [], [], ""
        self.rows = []
        """Rows of tables in which the head of a column tells of shares and not what they are of."""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append([tag, ""])
        if tag == "table":
            self.columns = []
        if tag == "tr":
            self.row = []
        if tag == "figure":
            self.figure = []

    def handle_data(self, text):
        for element in self.open:
            element[1] += text

    def handle_endtag(self, tag):
        name, words = self.open.pop()
        if name in ("td", "th"):
            self.row.append(words)
        if name == "tr" and "thead" in [one for one, _ in self.open]:
            self.columns += self.row
        open_now = [one for one, _ in self.open]
        if name == "h3":
            self.heading = words
        if "figure" in open_now and name in self.BLOCKS:
            self.figure.append(words)
        if name == "tr" and "tbody" in open_now:
            bare = [column for column in self.columns if "%" in column and not OF.search(column)]
            self.rows += [" ".join(self.row)] if bare and len(self.row) > 1 else []
        if name in self.BLOCKS and "%" in words and not (name == "th" and "thead" in open_now):
            around = [self.heading, *self.columns] if name in ("td", "th") else [self.heading]
            self.found.append((words, self.figure if "figure" in open_now else [], around))


CONFIDENCE = re.compile(r"95\s*%")
OF = re.compile(r"\b(of|to at most [\d.]+\s*% of) (the )?\d[\d,]*|\bn = \d|\bof (its top|its)\b")


def test_every_share_on_the_page_shows_what_it_is_of(run, tmp_path):
    judged = make_run(tmp_path, iterations=1, measure__judge=str(tmp_path / "base"))
    for made in (run, judged):
        walked = Shares(write_report(made))
        found = walked.found
        assert walked.rows and all(OF.search(row) or not re.search(r"\d+\.\d / ", row) for row in walked.rows)
        shares = [(words, [*figure, *around]) for words, figure, around in found if "%" in CONFIDENCE.sub("", words)]
        assert len(shares) > 20
        bare = [words.strip() for words, around in shares if not OF.search(words) and not any(map(OF.search, around))]
        assert bare == []


def test_a_share_of_pairs_is_of_those_whose_truth_is_known(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    pairs = list(iter_jsonl(copy / "M2" / "pairs.jsonl", Pair))
    wanted = pairs[0].chosen_id
    others = [one for one in iter_jsonl(copy / "M2" / "truth.jsonl", Verdict) if one.response_id != wanted]
    rewrite(copy / "M2" / "truth.jsonl", others)
    known = sum(wanted not in (pair.chosen_id, pair.rejected_id) for pair in pairs)
    assert f"Of the {known} of {len(pairs)} pairs whose truth is known" in shown(write_report(copy)) and known < len(pairs)


def test_the_outside_judge_comes_first_and_one_that_decides_little_is_said_to_be_none(tmp_path):
    run = make_run(tmp_path, iterations=1, measure__judge=str(tmp_path / "base"), measure__truth=None)
    words = shown(write_report(run))
    assert words.index("a judge outside the loop") < words.index("Following instructions, and judging")
    rival = {"against": "M1", "judge": "referee", "wins": 1, "ties": 0, "losses": 1, "unscored": 8, "net": None}
    model = Measured.model_validate(measured(run)["M2"] | {"head_to_head": [rival]})
    told = write_headline([model.model_copy(update={"name": "M1", "head_to_head": []}), model], 5)
    assert told.title == ("Not known: referee is no judge of this: it gave a readable verdict on 2 of 10 prompts")
    assert told.sentences[0].startswith("referee is no judge of this")


# Runs that have less to show


def test_a_run_without_truth_says_so_and_shows_the_rest(tmp_path):
    recipe = make_world(tmp_path)
    page = write_report_of(recipe, tmp_path / "run", "", **BIG)
    words = shown(page)
    assert "Not known: only the models themselves have judged the answers" in words
    assert words.count("no truth known") > 10 and "by its own judge" in words and "by the truth" not in words


def write_report_of(recipe, folder, without, **changes):
    """The page of a run of a recipe without its truth, or without measuring judging."""
    recipe.write_text(recipe.read_text().replace('truth = "tinyrun:truth"\n', without))
    go(recipe, folder, **changes)
    return folder / "report" / "index.html"


def test_a_run_that_does_not_measure_judging_says_so(tmp_path):
    page = write_report_of(make_world(tmp_path), tmp_path / "run", 'truth = "tinyrun:truth"\njudging = false\n')
    assert "Not measured" in shown(page) and "How well it judges was not measured" in shown(page)
    assert "Table 2" not in shown(page) and describe_status(tmp_path / "run").count("no pairwise accuracy") == 3


def test_without_truth_and_own_scores_nothing_empty_is_drawn(tmp_path):
    page = write_report_of(make_world(tmp_path), tmp_path / "run", "judging = false\n")
    words, source = shown(page), page.read_text()
    assert (
        "Table 1" in words
        and "Figure 2" not in words
        and "the mean of its own judgments" not in words
        and "by its own judge" not in words
    )
    assert "#itself" not in source and "#scores" not in source and 'id="loop"' in source


def test_an_unfinished_run_has_a_page_that_says_where_it_stands(stopped):
    words = shown(write_report(stopped))
    assert "Not finished." in words and "stopped in M2/judgments" in words
    assert "No iteration is measured yet" in words and "Not judged yet." in words and "true: not measured yet" in words
    assert f"answers at {measured(stopped)['M1']['true_score']:.2f}" in words


def test_a_run_that_only_began_has_a_page_too(stopped, tmp_path):
    shutil.copy(stopped / "config.json", tmp_path)
    words = shown(write_report(tmp_path))
    assert "M1 is yet to be measured" in words and "before M0/heldout_responses" in words


def test_every_link_within_a_page_leads_somewhere(run, stopped):
    for page in (Page(write_report(run)), Page(write_report(stopped))):
        targets = {value for name, value in page.attributes if name == "id"}
        links = {value[1:] for name, value in page.attributes if name == "href" and value.startswith("#")}
        assert links and links <= targets
    assert "training" not in targets  # nothing was logged there


def test_a_finished_run_is_not_called_unfinished(run):
    assert "Not finished" not in shown(write_report(run))


@pytest.mark.parametrize("source", ["micro world, standing for people", "people"])
def test_seed_files_that_stand_for_people_are_named_only_where_they_do(run, tmp_path, source):
    example = {"prompt": "list two", "response": "one two", "kind": "ift", "source": source}
    (tmp_path / "seed").mkdir()
    rewrite(tmp_path / "seed" / "ift.jsonl", [Example(**example)])
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    assert ("stand for human labels" in shown(write_report(tmp_path))) == source.startswith("micro")


# Status


def test_status_tells_stages_done_and_owed_and_where_the_run_stopped(stopped):
    first, *lines = describe_status(stopped).splitlines()
    assert re.search(r"stopped in M2/judgments, \d+ of \d+ requests; the same command goes on", first)
    assert [line.split()[0] for line in lines] == ["M0", "SFT", "M1", "M2", "M3"]
    assert f"measured: true score {measured(stopped)['M0']['true_score']:.2f}, says" in lines[0]
    assert lines[3].endswith("done: proposed, prompts, responses; to do: judgments, pairs, model, measuring")
    assert lines[4] == "  M3   to do"


def test_status_knows_a_living_process_by_its_lock_and_leaves_no_lock_behind(stopped):
    with (stopped / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert re.search(r"running, in M2/judgments, \d+ of \d+ requests", describe_status(stopped))
    assert "stopped" in describe_status(stopped)
    with (stopped / ".lock").open("a") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_status_shows_what_is_left_while_the_run_lives(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    status = tmp_path / "run" / "logs" / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"eta_s": 600.0, "at": 4e9}))
    assert " left" not in describe_status(tmp_path / "run").splitlines()[0]
    with (tmp_path / "run" / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert re.search(r"about \d+ min left", describe_status(tmp_path / "run"))


def test_status_of_a_finished_run(run):
    assert describe_status(run).splitlines()[0].endswith(": finished")


@pytest.mark.parametrize("ask", [describe_status, write_report])
def test_a_folder_that_is_no_run_is_refused(tmp_path, ask):
    with pytest.raises(SelfRewardError, match=r"no run folder: it has no config\.json"):
        ask(tmp_path)
    assert list(tmp_path.iterdir()) == []


# Words and numbers


def with_score(run, name, true, own):
    """A measured model with other scores, intervals a tenth to each side."""
    model = Measured.model_validate(measured(run)["M1"] | {"name": name, "head_to_head": [], "judgments": {"scored": 10}})
    score = Estimate(value=true, low=true - 0.1, high=true + 0.1)
    following = model.instruction_following.model_copy(update={"score": score})
    said = Estimate(value=own, low=own, high=own)
    return model.model_copy(update={"true_score": true, "instruction_following": following, "self_score": said})


@pytest.mark.parametrize(
    ("last", "headline", "told"),
    [
        (
            4.6,
            "Yes: M3 answers better than M1",
            "answers better than M1: 3.10 → 4.60 of 5 (95\u00a0% intervals 3.00–3.20 and 4.50–4.70)",
        ),
        (2.5, "No: M3 answers worse than M1", "answers worse than M1: 3.10 → 2.50 of 5"),
        (3.2, "Not known: no clear difference between M1 and M3", "3.10 → 3.20 of 5, and the 95\u00a0% intervals overlap"),
    ],
)
def test_the_verdict_says_what_the_intervals_allow(run, last, headline, told):
    found = write_headline([with_score(run, "M1", 3.1, 3.5), with_score(run, "M3", last, 4.8)], 5)
    assert found.title == headline and told in found.sentences[0]
    gap = f"{abs(4.8 - last):.2f} above the truth; M1 said 3.50, 0.40 above the truth"
    assert f"M3 says 4.80 of itself, {gap}." in found.sentences


def test_an_opinion_that_rests_on_few_judgments_is_said_to(run):
    shaky = with_score(run, "M3", 4.0, 4.0).model_copy(update={"judgments": {"scored": 7, "unparsed": 3}})
    assert any(
        "30\u00a0% of 10 gave no valid score" in told
        for told in write_headline([with_score(run, "M1", 3, 3), shaky], 5).sentences
    )


@pytest.mark.parametrize(
    ("counts", "net", "title"),
    [
        ((0, 4, 0), (0, 0), "Not known: no clear difference between M2 and SFT, says referee"),
        ((4, 0, 0), (1, 1), "Not known: no clear difference between M2 and SFT, says referee"),  # by a coin 2 in 16
        ((5, 0, 0), (1, 1), "Not known: no clear difference between M2 and SFT, says referee"),  # 2 in 32
        ((6, 0, 0), (1, 1), "Yes: M2 answers better than SFT, says referee"),  # 2 in 64
        ((0, 0, 6), (-1, -1), "No: M2 answers worse than SFT, says referee"),
    ],
)
@pytest.mark.parametrize("flips", [0.75, 0.25])
def test_a_judge_outside_that_says_one_thing_of_few_or_follows_the_order_is_not_taken_at_its_word(run, counts, net, title, flips):
    wins, ties, losses = counts
    estimate = {"value": (wins - losses) / sum(counts), "low": net[0], "high": net[1], "n": sum(counts)}
    rival = {"against": "SFT", "judge": "referee", "wins": wins, "ties": ties, "losses": losses, "unscored": 0, "net": estimate}
    bare = measured(run)["M2"] | {"instruction_following": None, "true_score": None}
    model = Measured.model_validate(bare | {"head_to_head": [rival | {"position_flips": flips}]})
    told = write_headline([model.model_copy(update={"name": "M1", "head_to_head": []}), model], 5)
    assert told.title == title
    by_order = [sentence for sentence in told.sentences if "referee changed 75\u00a0% of its verdicts on M2" in sentence]
    assert len(by_order) == (flips == 0.75)
    said = describe_outside(model.head_to_head[0])
    assert said == {
        0: f"referee says as many wins as losses against SFT ({sum(counts)} prompts)",
    }.get(wins - losses, f"referee says {100 * estimate['value']:+.1f} points of 100 against SFT ({sum(counts)} prompts)")


def test_an_interval_without_width_is_none():
    source = (files("selfreward.reports") / "text" / "report.html").read_text()
    macro = re.search(r"{% macro interval.*?{% endmacro %}", source, re.DOTALL)
    show = _environment().from_string(macro[0]).module.interval
    alike = show(Estimate(value=0, low=0, high=0, n=4), 100, 1)
    assert "all 4 alike: no interval" in alike and "0.0 to 0.0" not in alike
    assert "−25.0 to 25.0" in show(Estimate(value=0, low=-0.25, high=0.25, n=4), 100, 1)


def test_scales_and_ticks():
    assert [Scale(0, 5, 100, 0)(value) for value in (0, 2.5, 5, 9)] == [100, 50, 0, 0]
    assert ticks(0, 5) == [0, 1, 2, 3, 4, 5] and ticks(0.4, 1) == [0.4, 0.6, 0.8, 1] and ticks(-0.1, 0.1, 2) == [-0.1, 0, 0.1]
    assert ticks(3, 3) == [3] and percent(0.817) == "82\u00a0%"


# In a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Debian's Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: the page is not tried in a browser")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no chromium and chromedriver: the page is not tried in a browser (apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for name in ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync", "disable-component-update"):
        options.add_argument(f"--{name}")
    for name in ("headless=new", "disable-background-networking", f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{name}")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_page_works_in_chromium(run, chromium, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get(write_report(run).resolve().as_uri())
    assert chromium.get_log("browser") == []
    assert chromium.title.endswith(chromium.find_element("css selector", "h1").text)
    assert chromium.execute_script("return innerWidth") == width
    prompt = chromium.find_element("css selector", ".prompt")
    judgment = prompt.find_element("css selector", ".judgment .said")
    assert not judgment.is_displayed()
    for summary in (prompt.find_element("css selector", "summary"), prompt.find_element("css selector", ".judged > summary")):
        chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", summary)
        summary.click()
    assert judgment.is_displayed() and SCRIPT in judgment.text
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert chromium.find_elements("css selector", "script, img") == [] and "owned" not in chromium.title[:10]


CODE = "A long answer.\n\n```\n" + "x = 1  # " + "y" * 300 + "\n```\n| a | " + "b" * 300 + " |\nThe end, at last."


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_code_is_scrolled_in_the_page_and_a_thought_stands_apart_and_shows_that_it_opens(run, tmp_path, chromium, width, height):
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "M2" / "responses.jsonl"
    changed = {"text": CODE, "thought": "so it is\n" * 40}
    rewrite(file, [answer.model_copy(update=changed) for answer in iter_jsonl(file, Response)])
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    )
    chromium.get(write_report(copy).resolve().as_uri())
    chromium.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    answer = chromium.find_element("css selector", ".answer")
    assert answer.get_attribute("textContent") == CODE
    for block in answer.find_elements("css selector", ".wide"):
        sizes = chromium.execute_script("const e = arguments[0]; return [e.scrollWidth, e.clientWidth, e.clientHeight]", block)
        assert sizes[0] > 2000 > width >= sizes[1] and sizes[2] < 100
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    summary = chromium.find_element("css selector", ".candidate > .thought > summary")
    sign = "return [getComputedStyle(arguments[0], '::before').content, getComputedStyle(arguments[0]).fontFamily]"
    opened, font = chromium.execute_script(sign, summary)
    chromium.execute_script("arguments[0].parentElement.open = false", summary)
    closed, _ = chromium.execute_script(sign, summary)
    assert (closed, opened) == ('"+"', '"−"') and "sans" in font


def test_prompts_can_be_narrowed_to_one_fate_without_a_script(run, chromium):
    chromium.get(write_report(run).resolve().as_uri())
    kept = chromium.find_elements("css selector", ".prompt")
    radio = chromium.find_elements("css selector", ".filter input")[1]
    chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", radio)
    radio.click()
    way = radio.get_attribute("class").removeprefix("f-")
    first = chromium.find_element("css selector", ".browse")
    visible = [prompt for prompt in first.find_elements("css selector", ".prompt") if prompt.is_displayed()]
    assert 0 < len(visible) < len(kept) and all(f"is-{way}" in prompt.get_attribute("class") for prompt in visible)


def test_every_training_says_what_it_padded(run):
    assert shown(write_report(run)).count("399 steps, 8.7 % of 1,000 tokens padding") == 4
