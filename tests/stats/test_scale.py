"""Many records: what is streamed is what would be in memory, and what is held does not grow with what goes by."""

import hashlib
import json
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipts import sign
from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.errors import SelfRewardError
from selfreward.recipe import JudgeConfig
from selfreward.records import (
    Checkpoint,
    Judgment,
    Message,
    Pair,
    Prompt,
    Records,
    Request,
    Response,
    Sampling,
    ScoreOnly,
    TextOnly,
    content_id,
    iter_about,
    iter_jsonl,
    only,
    preference_texts,
    read_jsonl,
    to_line,
)
from selfreward.reports.browse import SHOWN, sample
from selfreward.rundir import RESPONSES, FolderReader, Progress, RunDir, Runner
from selfreward.stats import Novelty, Tally, intervals, mean_scores, novelty
from selfreward.steps import Answering, best_against_worst, choose_pairs

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=8)


def iteration(folder, count):
    """Files of an iteration of `count` prompts, N = 4 and K = 3."""
    rng, scores = random.Random(0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, None]
    with (
        open(folder / "prompts.jsonl", "w") as asked,
        open(folder / "responses.jsonl", "w") as said,
        open(folder / "judgments.jsonl", "w") as told,
    ):
        for at in range(count):
            prompt = Prompt(text=f"task {at}", source="self")
            asked.write(to_line(prompt) + "\n")
            for index in range(4):
                response = Response(prompt_id=prompt.id, model="m", index=index, text=f"{index} é\n" * 20, finish="stop")
                said.write(to_line(response) + "\n")
                for k in range(3):
                    score = rng.choice(scores)
                    outcome = "unparsed" if score is None else "scored"
                    judged = Judgment(
                        response_id=response.id, judge="m", sample=k, rationale="so " * 60, outcome=outcome, score=score
                    )
                    told.write(to_line(judged) + "\n")
    return folder


def streamed(folder, count):
    """What the loop holds of it."""
    prompts = list(Records([folder / "prompts.jsonl"], Prompt, count))
    return (
        prompts,
        Records([folder / "responses.jsonl"], Response, 4 * count),
        Records([folder / "judgments.jsonl"], Judgment, 12 * count),
    )


def decided(prompts, responses, judgments):
    """Pairs, what was dropped, and texts."""
    pairs, dropped = choose_pairs(prompts, responses, mean_scores(judgments, 2), best_against_worst)
    return pairs, dropped, preference_texts(pairs, prompts, responses)


def test_streamed_records_decide_as_records_in_memory(tmp_path):
    prompts, responses, judgments = streamed(iteration(tmp_path, 60), 60)
    in_memory = read_jsonl(tmp_path / "responses.jsonl", Response), read_jsonl(tmp_path / "judgments.jsonl", Judgment)
    assert list(responses) == in_memory[0] and list(judgments) == in_memory[1]
    assert list(judgments) == list(judgments) and len(judgments) == 720 and in_memory[1][7] in judgments
    pairs, dropped, texts = decided(prompts, responses, judgments)
    assert (pairs, dropped, texts) == decided(prompts, *in_memory)
    assert len(pairs) + len(dropped) == 60 and len(texts) == len(pairs) > 30


@pytest.mark.parametrize(("kind", "narrow", "at"), [(Judgment, ScoreOnly, 2), (Response, TextOnly, 1)])
def test_a_few_fields_of_records_in_files_are_those_of_the_records(kind, narrow, at, tmp_path):
    records = streamed(iteration(tmp_path, 12), 12)[at]
    found = list(only(records, narrow))
    assert {type(part) for part in found} == {narrow} and len(found) == len(records) > 40
    assert [part.model_dump() for part in found] == [record.model_dump(include=set(narrow.model_fields)) for record in records]
    for name, field in narrow.model_fields.items():
        assert name == "id" or field.annotation == kind.model_fields[name].annotation
    in_memory = list(records)
    assert only(in_memory, narrow) is in_memory


def test_a_tally_counts_what_goes_by_and_changes_nothing(tmp_path):
    _, _, judgments = streamed(iteration(tmp_path, 20), 20)
    tally, every = Tally(), list(judgments)
    mine = {judgment.response_id for judgment in every[:90]}
    assert list(tally.of(judgments, mine)) == every
    scores = [judgment.score for judgment in every if judgment.response_id in mine]
    assert tally.histogram == {f"{n}": scores.count(n) for n in range(6)}
    assert tally.outcomes == {"scored": 90 - scores.count(None), "unparsed": scores.count(None)}
    assert tally.unscored == scores.count(None) / 90


def test_records_that_do_not_stand_together_are_refused_and_not_decided_twice(tmp_path):
    prompts, responses, judgments = streamed(iteration(tmp_path, 3), 3)
    apart = list(responses)
    apart[3], apart[4] = apart[4], apart[3]
    with pytest.raises(ValueError, match="do not stand together"):
        decided(prompts, apart, judgments)


def peak(count, folder, work):
    """Most bytes that `work` held over an iteration of `count` prompts."""
    folder.mkdir()
    prompts, responses, judgments = streamed(iteration(folder, count), count)
    tracemalloc.start()
    work(prompts, responses, judgments)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held


def in_passing(prompts, responses, judgments):
    return mean_scores(Tally().of(judgments), 2)


def hoarding(prompts, responses, judgments):
    return mean_scores(list(judgments), 2)


def test_a_judgment_more_takes_only_what_its_mean_score_does(tmp_path):
    """A million may take 1.5 GB, Python and its libraries included; records in memory would take 1.5 kB each."""

    def slope(work):
        return (peak(1000, tmp_path / f"{work.__name__}1000", work) - peak(200, tmp_path / f"{work.__name__}200", work)) / 9600

    assert slope(in_passing) < 250
    assert slope(hoarding) > 1000


def test_a_pair_more_takes_its_texts_and_no_other_candidates(tmp_path):
    def slope(work):
        return (peak(1000, tmp_path / f"{work.__name__}1000", work) - peak(200, tmp_path / f"{work.__name__}200", work)) / 9600

    assert slope(decided) < 700


# ids and reading


def by_definition(record):
    """The id as it was first defined, from a dump of the record."""
    fields = record.model_dump(mode="json", include=set(record.identity))
    parts = [type(record).__name__, [fields[name] for name in record.identity]]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_ids_are_those_of_a_dump(text, number, seed):
    model = Checkpoint(name="M1", path=".", fingerprint=text)
    sampling = Sampling(temperature=number, top_p=0.9, max_tokens=8)
    request = Request.asking(text, 1, (Message(role="user", content=text),), sampling, model, seed)
    pair = Pair(prompt_id=text, chosen_id="a", rejected_id="b", chosen_score=float("inf"), rejected_score=number)
    for record in (request, pair, Prompt(text=text, source="self")):
        assert record.id == by_definition(record)


def test_what_is_not_json_has_no_id():
    with pytest.raises(TypeError, match="object is not JSON"):
        content_id(object())


def test_only_where_a_hash_was_checked_is_an_id_taken_as_it_stands(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(to_line(Prompt(text="one", source="self")).replace("one", "two") + "\n")
    assert [prompt.id for prompt in Records([file], Prompt, 1)] == [Prompt(text="one", source="self").id]
    with pytest.raises(SelfRewardError, match=r"prompts.jsonl:1.*the line was changed"):
        list(iter_jsonl(file, Prompt))


@pytest.mark.parametrize("line", ["{", "[]", "7", "", '{"text": "x"}', '{"text": "x", "source": "self", "more": 1}'])
def test_a_bad_line_is_named_with_its_file_however_it_is_read(line, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(to_line(Prompt(text="one", source="self")) + f"\n{line}\n")
    told = []
    for read in (Records([file], Prompt, 2), iter_jsonl(file, Prompt), iter_about(file, Prompt, "text", {"x"})):
        with pytest.raises(SelfRewardError) as error:
            list(read)
        told.append(str(error.value))
    assert told[0] == told[1] == told[2] and f"{file}:2" in told[0]


def test_records_about_something_are_those_of_all(tmp_path):
    iteration(tmp_path, 12)
    every = read_jsonl(tmp_path / "judgments.jsonl", Judgment)
    wanted = {judgment.response_id for judgment in every[5::37]}
    found = list(iter_about(tmp_path / "judgments.jsonl", Judgment, "response_id", wanted))
    assert found == [judgment for judgment in every if judgment.response_id in wanted] and 0 < len(found) < len(every)


def test_a_stage_goes_over_its_finished_file_and_a_damaged_one_is_refused(tmp_path):
    def run():
        return Runner(RunDir(tmp_path / "run", {}), lambda model: FakeModel(), FakeTrainer, Progress(tmp_path))

    base = Checkpoint(name="M0", path=tmp_path, fingerprint="0" * 16)
    plan = Answering(SAMPLING, 2).plan([Prompt(text=f"task {n}", source="self") for n in range(5)], base, 0)
    first = run()
    made = first["M2"].complete(RESPONSES, plan, base, Answering.read)
    assert [response.index for response in made] == [0, 1] * 5 and len(made) == 10
    receipt = first["M2"].receipt(RESPONSES)
    assert receipt["outcomes"] == {label: [r.finish for r in made].count(label) for label in sorted({r.finish for r in made})}
    first.dir.close()
    file = tmp_path / "run" / "M2" / "responses.jsonl"
    file.write_text(file.read_text().replace('"index":0', '"index":7', 1))
    again = run()
    with pytest.raises(SelfRewardError, match="changed or damaged"):
        again["M2"].complete(RESPONSES, plan, base, Answering.read)
    again.dir.close()


def test_the_page_shows_a_sample_of_a_large_iteration(tmp_path):
    folder = iteration(tmp_path, 400)
    for file in folder.glob("*.jsonl"):
        sign(file, len(file.read_text().splitlines()))
    found = sample(FolderReader(folder), JudgeConfig(), 2_000_000)
    assert found.prompts == 400 and len(found.browsed) == SHOWN
    assert [browsed.prompt.id for browsed in found.browsed] == sorted(
        p.id for p in read_jsonl(tmp_path / "prompts.jsonl", Prompt)
    )[:SHOWN]
    assert all(
        len(browsed.candidates) == 4 and all(len(c.judgments) == 3 for c in browsed.candidates) for browsed in found.browsed
    )


# figures


def all_at_once(parts, wholes, resamples, seed):
    """The interval with every resample in memory."""
    draws = np.random.default_rng(seed).integers(len(parts), size=(resamples, len(parts)))
    sums = wholes[draws].sum(1)
    return tuple(np.quantile(parts[draws].sum(1)[sums > 0] / sums[sums > 0], [0.025, 0.975]))


@pytest.mark.parametrize("units", [1, 7, 1001])
@pytest.mark.parametrize("at_once", [1, 50, 5003, 10**7])
def test_intervals_do_not_depend_on_how_many_are_drawn_at_once(units, at_once, monkeypatch):
    monkeypatch.setattr(intervals, "AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    parts, wholes = rng.random(units), rng.integers(0, 3, units) + (units == 1)
    found, mean = intervals.ratio(parts, wholes, 101, 5), intervals.mean(parts, 101, 5)
    assert (found.low, found.high) == all_at_once(parts, wholes, 101, 5)
    assert (mean.low, mean.high) == all_at_once(parts, np.ones(units), 101, 5)


def test_shares_of_other_numbers_of_units_are_drawn_beside_each_other_as_each_is_alone():
    rng = np.random.default_rng(2)
    shares = [(rng.random(units), rng.integers(1, 3, units)) for units in (40, 7, 40, 1, 7)]
    shares += [(rng.random(40), np.full(40, 3)), (np.full(40, 0.1), np.full(40, 0.3)), ([], []), (np.ones(7), np.full(7, 0.7))]
    together = intervals.ratios(shares, 200, 7)
    assert together == [intervals.ratio(*share, 200, 7) for share in shares]
    for (parts, wholes), found in zip(shares, together, strict=True):
        ends = all_at_once(np.asarray(parts), np.asarray(wholes, dtype=float), 200, 7) if len(parts) else ()
        assert ends == ((found.low, found.high) if found else ())


def test_many_units_are_resampled_in_little_memory():
    values = [0.5] * 200_000
    tracemalloc.start()
    assert intervals.mean(values, 100, 0).value == 0.5
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 20e6  # all at once: 160 MB of draws


def test_ratios_over_the_same_units_are_what_each_is_alone():
    rng = np.random.default_rng(1)
    parts, wholes = rng.integers(3, size=(3, 500)), rng.integers(3, size=(3, 500))
    wholes[1] = 0
    together = intervals.ratios(list(zip(parts, wholes, strict=True)), 200, 7)
    assert together == [intervals.ratio(*pair, 200, 7) for pair in zip(parts, wholes, strict=True)]
    assert together[1] is None and together[0] != together[2]
    assert intervals.ratios([(parts[0], [1] * 500)], 200, 7) == [intervals.mean(parts[0], 200, 7)]


# novelty: where pruning by counts of tokens is tightest


def nearest_of_all(text, others, limit):
    """F of the nearest, above the limit, each pair compared by itself with a table."""

    def common(a, b):
        row = [0] * (len(b) + 1)
        for word in a:
            before, row = row, [0]
            for at, other in enumerate(b):
                row.append(before[at] + 1 if word == other else max(row[-1], before[at + 1]))
        return row[-1]

    words = text.split()
    found = [2 * common(words, other.split()) / (len(words) + len(other.split())) for other in others if words or other]
    return max((f for f in found if f > limit), default=0.0)


def adversarial(seed, limit):
    """Texts that share with a first one just as many words as the limit needs, or one less or more; long and short ones."""
    rng = random.Random(seed)
    texts = []
    for _ in range(6):
        length = rng.choice([1, 2, 3, 7, 10, 20, 41])
        words = [f"w{rng.randrange(60)}" for _ in range(length)]
        texts.append(" ".join(words))
        for other in {max(1, round(length * share)) for share in (limit / (2 - limit), 1, (2 - limit) / limit if limit else 3)}:
            exact = limit * (length + other) / 2
            for shared in {int(exact), int(exact) + 1, int(exact) - 1}:
                kept = sorted(rng.sample(range(length), max(0, min(shared, length, other))))
                near = [words[at] for at in kept]
                while len(near) < other:  # words of its own, anywhere between
                    near.insert(rng.randrange(len(near) + 1), f"x{rng.randrange(10**6)}")
                texts.append(" ".join(near))
    rng.shuffle(texts)
    return texts


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.5, 0.7, 0.8, 0.99])
def test_nothing_near_is_pruned_just_at_the_limit_long_or_short(limit):
    at_limit = 0
    for seed in range(12):
        texts = adversarial(seed, limit)
        near = Novelty([], limit)
        seen = []
        for text in texts:
            wanted = nearest_of_all(text, seen, limit)
            assert near.nearest(text) == pytest.approx(wanted, abs=1e-12), (seed, text)
            at_limit += limit < wanted <= limit + 0.1
            copy = novelty.plain(text) in map(novelty.plain, seen)
            assert near.add(text) == (not wanted and not copy)
            seen += [text] if not wanted and not copy else []
    assert at_limit > 5 or limit in (0.0, 0.99)  # the hard cases are there
