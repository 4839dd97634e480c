"""A run tries all that its recipe names before its first token, and says what was read."""

import errno
import json
import sys
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from selfreward import api
from selfreward.checks import check
from selfreward.cli import app
from selfreward.engines import answers, completions
from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.errors import SelfRewardError, raised
from selfreward.recipe import load_recipe
from selfreward.records import Completion, Message, Pair, Request, Sampling
from tinyrun import count_requests, go, make_world, quiet

ROWS = "".join(
    json.dumps({"messages": [*([{"role": "tool", "content": "x"}] if n % 10 < 6 else []), {"role": "user", "content": f"say {n}"},
                             {"role": "assistant", "content": f"it is {n}"}]}) + "\n"
    for n in range(100)
)  # fmt: skip


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    quiet(monkeypatch)
    (tmp_path / "anchors.jsonl").write_text('{"prompt": "which is a larch", "answers": ["larch"]}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "anchored.jsonl").write_text('{"text": "Which is a larch", "source": "seed"}\n')
    return make_world(tmp_path)


def none_given(prompt_id, scored): ...


def of_others(prompt_id, scored):
    return Pair(prompt_id=prompt_id, chosen_id="a", rejected_id="b", chosen_score=2, rejected_score=1)


def best_last(prompt_id, scored, **scores):
    worst, best = sorted(scored, key=lambda one: (one[0], one[1].id))[:: len(scored) - 1]
    return Pair(prompt_id=prompt_id, chosen_id=best[1].id, rejected_id=worst[1].id,
                **{"chosen_score": best[0], "rejected_score": worst[0]} | scores) if best[0] > worst[0] else "tie"  # fmt: skip


def made_up(prompt_id, scored):
    """The worst is chosen, with scores that nobody gave."""
    worst, best = sorted(scored, key=lambda one: (one[0], one[1].id))[:: len(scored) - 1]
    return Pair(prompt_id=prompt_id, chosen_id=worst[1].id, rejected_id=best[1].id, chosen_score=9, rejected_score=1)


def rounded_up(prompt_id, scored):
    return best_last(prompt_id, scored, chosen_score=5.5)


def turned(prompt_id, scored):
    worst, best = scored[:2]
    return Pair(prompt_id=prompt_id, chosen_id=best[1].id, rejected_id=worst[1].id, chosen_score=1, rejected_score=4)


def one_twice(prompt_id, scored):
    return Pair(prompt_id=prompt_id, chosen_id="a", rejected_id="a", chosen_score=4, rejected_score=1)


def of_another_prompt(prompt_id, scored):
    return best_last("another", scored)


def not_checked(prompt_id, scored):
    """Past the record's own look, chosen below rejected with the true scores."""
    worst, best = sorted(scored, key=lambda one: (one[0], one[1].id))[:: len(scored) - 1]
    return Pair.model_construct(
        prompt_id=prompt_id, chosen_id=worst[1].id, rejected_id=best[1].id, chosen_score=worst[0], rejected_score=best[0]
    )


def fails(prompt_id, scored):
    raise KeyError("no such thing")


def one_argument(prompt): ...


async def awaited(prompt_id, scored): ...


def yields(prompt, response):
    yield "kind", {"all": 1.0}


def a_number(prompt, response):
    return 3.0


def no_kind(prompt, response):
    return 3, {"all": 1.0}


def no_numbers(prompt, response):
    return "kind", {"all": "much"}


def no_number(text): ...


def not_a_number(text):
    return np.nan


def an_array(text):
    return np.ones(1)


def a_text(text):
    return "3"


def of_no_letter(text):
    return {}[text]


def of_letters(text):
    """Fails on an empty text, which is no fault of the text that it is tried on."""
    return np.float32(sum(letter in "aeiou" for letter in text) / len(text))


class Wants:
    def __init__(self, text, more): ...


class Holds:
    def __init__(self, text): ...

    def __repr__(self):
        return "a holder"


class Waits(FakeModel):
    async def generate(self, batch): ...


class Prepares(FakeModel):
    def prepare(self, requests):
        yield


def text_for_points(prompt, response):
    return "kind", {"all": "1"}


def of_hundred(prompt, response):
    return "kind", {"all": 30.0, "more": 20.0}


def below_nothing(prompt, response):
    return "kind", {"good": 1.0, "bad": -1.5}


def to_the_ends(prompt, response):
    """A penalty within a score of 0, and thirteen thirteenths of 5, which add up to a little more."""
    return "kind", {f"{n}": 5 / 13 for n in range(13)} if "0" in prompt else {"good": 1, "bad": -1.0}


def of_last_prompts(prompt, response):
    return None if prompt.endswith(("0", "1")) else 3


class Halved(FakeModel):
    """An engine without batches."""

    batches = None


def of_no_key():
    return {}["KEY_OF_MINE"]


def of_no_server():
    raise ConnectionRefusedError("no server at 9")


def of_no_file():
    return open("/no/such/weights")


def that_ends():
    sys.exit("no licence")


def that_cannot_end():
    engine = FakeModel()
    engine.close = of_no_key
    return engine


class Opened(FakeModel):
    """An engine that counts how often it was opened."""

    times = 0

    def __init__(self):
        super().__init__()
        Opened.times += 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"judge__by": "test_named:of_no_key"}, r"cannot be opened: raised KeyError \('KEY_OF_MINE'\) at test_named\.py"),
        ({"measure__judge": "test_named:of_no_server"}, r"cannot be opened: raised ConnectionRefusedError \(no server at 9\)"),
        ({"measure__judge": "test_named:of_no_file"}, r"cannot be opened: raised FileNotFoundError .*/no/such/weights"),
        ({"judge__by": "test_named:that_ends"}, r"cannot be opened: raised SystemExit \(no licence\)"),
        ({"judge__by": "test_named:that_cannot_end"}, r"cannot be closed: raised KeyError \('KEY_OF_MINE'\)"),
        ({"pairs__policy": "nowhere_at_all:policy"}, r"pairs.policy \(nowhere_at_all:policy\): cannot be imported"),
        ({"pairs__policy": "test_named:one_argument"}, r"pairs\.policy \(test_named:one_argument\): takes \(prompt\)"),
        ({"measure__truth": "test_named:one_argument"}, r"measure\.truth .*is called with \(prompt, response\)"),
        ({"pairs__policy": "test_named:awaited"}, r"pairs\.policy \(test_named:awaited\): is an async function"),
        ({"measure__truth": "test_named:yields"}, r"measure\.truth \(test_named:yields\): is a generator, which gives no value"),
        ({"judge__by": "test_named:Halved"}, r"Halved has no batches"),
        ({"judge__by": "test_named:none"}, r"cannot be imported"),
        ({"servers": {"s": {"url": "http://127.0.0.1:9/v1", "model": "m", "key_env": "NO_SUCH_KEY"}}, "judge__by": "s"},
         "NO_SUCH_KEY is not set"),
        ({"measure__judge": "current"}, r"measure\.judge: 'current' is a role in the loop"),
        ({"drift": {"limits": {"nothing.at": {"above": 1}}}}, "no monitor has this figure"),
        ({"drift": {"traits": {"t": "test_named:a_number"}}}, r"drift\.traits\.t .*is called with \(text\)"),
        ({"measure__truth": "test_named:a_number"}, r"measure\.truth .*gave 3\.0 for the prompt 'name the birch"),
        ({"measure__truth": "test_named:no_kind"}, r"gave \(3, \{'all': 1\.0\}\)"),
        ({"measure__truth": "test_named:no_numbers"}, r"gave \('kind', \{'all': 'much'\}\)"),
        ({"measure__truth": "test_named:text_for_points"}, r"gave \('kind', \{'all': '1'\}\) for the prompt 'name the birch"),
        ({"measure__truth": "test_named:of_hundred"},
         r"gave 50 points in all for the prompt 'name the birch number 0', where a true score is from 0 to 5\. Scale"),
        ({"measure__truth": "test_named:of_hundred", "judge__scale": [1, 10]}, "gave 50 points .* is from 0 to 10"),
        ({"measure__truth": "test_named:below_nothing"}, r"gave -0\.5 points in all"),
        ({"measure__truth": "test_named:of_last_prompts"}, "gave 3 for the prompt 'name the birch number 2'"),
        ({"drift": {"traits": {"t": "test_named:no_number"}}}, r"drift\.traits\.t: gave None for 'A birch is a tree\.'\. Make"),
        ({"drift": {"traits": {"t": "test_named:not_a_number"}}}, r"drift\.traits\.t: gave nan for"),
        ({"drift": {"traits": {"t": "test_named:an_array"}}}, r"drift\.traits\.t: gave array\(\[1\.\]\) for"),
        ({"drift": {"traits": {"t": "test_named:a_text"}}}, r"drift\.traits\.t: gave '3' for"),
        ({"drift": {"traits": {"t": "test_named:of_no_letter"}}}, r"raised KeyError \('A birch is a tree\.'\) at test_named"),
        ({"drift": {"traits": {"t": "test_named:Wants"}}}, r"takes \(text, more\), and is called with \(text\)"),
        ({"drift": {"traits": {"t": "test_named:Holds"}}}, r"drift\.traits\.t: gave a holder for"),
        ({"drift": {"traits": {"t": "test_named.of_letters"}}},
         r"drift\.traits\.t: 'test_named\.of_letters' is a regular expression .*Write test_named:of_letters for the function, or "
         r"test_named\\\\?\.of_letters for the words"),
        ({"judge__by": "test_named:Waits"}, r"test_named:Waits\), generate: is an async function, which gives no value"),
        ({"judge__by": "test_named:Prepares"}, r"test_named:Prepares\), prepare: is a generator, which gives no value"),
        ({"report_to": ["trackio"]}, "trackio is not installed"),
        ({"prompts__from": "none.jsonl"}, r"prompts\.from \(none\.jsonl\): cannot be read"),
        ({"prompts__from": "prompts.jsonl"},
         r"prompts\.jsonl: has no prompt for M2 \(held_out 3; .+: “name the birch number 0”\)\. prompts\.from decides it"),
        ({"prompts__from": "anchored.jsonl", "drift": {"anchors": "anchors.jsonl"}}, r"no prompt for M2 \(held_out 1; .+a larch"),
        ({"drift": {"anchors": "empty.jsonl"}}, r"empty\.jsonl: has no anchors\. Give prompts with known answers, or leave"),
        ({"drift": {"anchors": "none.jsonl"}}, r"drift\.anchors \(none\.jsonl\): cannot be read"),
        ({"backend__type": "hf", "backend__device": "cuda"}, "there is no device 'cuda' here"),
        ({"backend__type": "vllm"}, "vllm is not installed"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:30],
)  # fmt: skip
def test_what_is_missing_ends_the_run_before_its_first_token_and_check_tells_it(change, says, recipe, tmp_path, monkeypatch):
    if change.get("report_to"):
        monkeypatch.setitem(__import__("sys").modules, "trackio", None)
    asked = count_requests(monkeypatch)
    with pytest.raises(SelfRewardError, match=says) as caught:
        go(recipe, tmp_path / "run", **change)
    assert not asked and not (tmp_path / "run").exists()
    told = check(load_recipe(recipe, {name.replace("__", "."): value for name, value in change.items()}), tmp_path / "run")
    assert caught.value.what in [finding.what for finding in told.findings] and not told.works


def test_a_branch_is_refused_before_anything_is_copied(recipe, tmp_path):
    go(recipe, tmp_path / "run")
    with pytest.raises(SelfRewardError, match="nowhere_at_all:policy"):
        api.run(recipe, tmp_path / "new", start=tmp_path / "run" / "M1", set={"pairs.policy": "nowhere_at_all:policy"})
    assert not (tmp_path / "new").exists()


def test_a_branch_whose_engine_cannot_be_opened_is_refused_too_and_a_finished_run_opens_none(recipe, tmp_path, monkeypatch):
    go(recipe, tmp_path / "run", measure__judge="test_named:Opened")
    times = Opened.times
    assert times > 1
    go(recipe, tmp_path / "run", measure__judge="test_named:Opened")
    assert Opened.times == times
    changes = {"measure.judge": "test_named:Opened", "judge.by": "test_named:of_no_key"}
    with pytest.raises(SelfRewardError, match="KEY_OF_MINE"):
        api.run(recipe, tmp_path / "new", start=tmp_path / "run" / "M1", set=changes)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pairs__policy": "test_named:none_given"}, r"pairs\.policy .*gave None for prompt \w+\. Make it return a Pair"),
        ({"pairs__policy": "test_named:of_others"}, r"gave a Pair of other responses \(a is none of its 2 candidates\)"),
        ({"pairs__policy": "test_named:of_another_prompt"}, r"gave a Pair of another prompt \(another\) for prompt \w+"),
        (
            {"pairs__policy": "test_named:made_up"},
            r"\(test_named:made_up\): gave a Pair with the scores 9 \(chosen\) and 1 \(rejected\), where its candidates "
            r"have [\d.]+ and [\d.]+ for prompt \w+\. Make it return a Pair of two of its candidates with their scores",
        ),
        ({"pairs__policy": "test_named:rounded_up"}, r"the scores 5\.5 \(chosen\) and [\d.]+ \(rejected\), where"),
        ({"pairs__policy": "test_named:not_checked"}, r"gave a Pair with the scores [\d.]+ \(chosen\) and"),
        (
            {"pairs__policy": "test_named:turned"},
            r"raised ValidationError \(Pair: chosen and rejected must be .*, chosen with the higher score\) at test_named\.py",
        ),
        ({"pairs__policy": "test_named:one_twice"}, "Pair: chosen and rejected must be different responses"),
        ({"pairs__policy": "test_named:fails"}, r"raised KeyError \('no such thing'\) at test_named\.py:\d+"),
    ],
)
def test_own_code_that_gives_something_else_is_told_in_one_sentence(change, says, recipe, tmp_path):
    with pytest.raises(SelfRewardError, match=says):
        go(recipe, tmp_path / "run", **change)


@pytest.mark.parametrize(("truth", "changes"), [("to_the_ends", {}), ("of_hundred", {"judge.scale": [0, 50]})])
def test_a_truth_up_to_the_ends_of_its_range_is_let_through(truth, changes, recipe, tmp_path):
    told = check(load_recipe(recipe, {"measure.truth": f"test_named:{truth}", **changes}), tmp_path / "run")
    assert not [finding for finding in told.findings if finding.where.startswith("measure.truth")]


def test_a_trait_that_cannot_read_an_empty_text_and_words_with_a_dot_are_let_through(recipe, tmp_path):
    traits = {
        "letters": "test_named:of_letters",
        "abbreviated": "e.g",
        "module": "this.that",
        "escaped": r"test_named\.of_letters",
    }
    told = check(load_recipe(recipe, {"drift.traits": traits}), tmp_path / "run")
    assert not [finding for finding in told.findings if finding.where.startswith("drift.traits")]


@pytest.mark.parametrize(
    "change",
    [{"drift": {"traits": {"t": lambda text: 1.0}}}, {"drift.traits.t": partial(of_letters)}, {"drift.traits.t": "".count}],
)
def test_a_function_that_no_import_path_names_is_refused_and_not_taken_for_a_regular_expression(change, recipe):
    with pytest.raises(SelfRewardError, match=r"^drift\.traits\.t: is <?.*which no import path names: lambdas, partials"):
        load_recipe(recipe, change)


def test_a_policy_that_gives_the_scores_it_was_given_and_the_control_that_shuffles_them_go_through(recipe, tmp_path):
    for name in ("test_named:best_last", "selfreward.lab.micro.controls:shuffled"):
        go(recipe, tmp_path / name.split(":")[1], pairs__policy=name, responses__n=6)
    mine, shuffled = ([*api.open_run(tmp_path / name)["M2"].pairs()] for name in ("best_last", "shuffled"))
    assert mine and shuffled and {pair.id for pair in mine} != {pair.id for pair in shuffled}


def asked(*words):
    sampling = Sampling(temperature=1, top_p=1, max_tokens=5)
    return [
        Request(about=word, index=0, messages=(Message(role="user", content=word),), sampling=sampling, seed=1, model="m")
        for word in words
    ]


class Odd(FakeModel):
    """Answers as it is told to."""

    def __init__(self, plan=None, give=lambda done: done, prepare=lambda: None):
        super().__init__()
        self.plan, self.give, self.read = plan, give, prepare

    def batches(self, requests):
        if self.plan is None:
            return super().batches(requests)
        return self.plan() if callable(self.plan) else self.plan

    def prepare(self, requests):
        self.read()

    def generate(self, batch):
        return self.give(list(super().generate(batch)))


def lost():
    raise ConnectionError("nobody there")


def one_by_one():
    yield [0]
    raise ValueError("no more")


def stranger(done):
    return [*done, done[0].model_copy(update={"request_id": "another"})]


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (Odd(plan=[[0]]), r"test_named:Odd: batches split 2 requests, and position 1 is missing"),
        (Odd(plan=[[0, 1], [1]]), "position 1 is there more than once"),
        (Odd(plan=[[0, 1, 2]]), "position 2 is of no request"),
        (Odd(plan=[0, 1]), "batches gave no lists of positions"),
        (Odd(plan=[[0.0, 1.5]]), "batches gave no lists of positions"),
        (Odd(plan=lost), r"batches raised ConnectionError \(nobody there\) at test_named\.py:\d+"),
        (Odd(plan=one_by_one), r"batches raised ValueError \(no more\) at test_named\.py:\d+"),
        (Odd(prepare=lost), r"prepare raised ConnectionError \(nobody there\)"),
        (Odd(give=lambda done: lost()), r"generate raised ConnectionError \(nobody there\) at test_named\.py:\d+"),
        (Odd(give=lambda done: done[1:]), "left 1 of 2 requests without an answer"),
        (Odd(give=lambda done: [*done, done[0]]), "answered 1 of 2 requests more than once"),
        (Odd(give=stranger), "answered 1 request that it was not asked"),
        (Odd(give=lambda done: None), "generate gave None, where completions are expected"),
        (Odd(give=lambda done: ["text"]), "generate gave 'text', where a Completion is expected"),
        (
            Odd(give=lambda done: Completion(**done[0].model_dump() | {"finish": "done"})),
            r"generate raised ValidationError \(Completion\.finish: Input should be 'stop', 'length', .*; it is 'done'\)",
        ),
        (Odd(give=lambda done: Completion(text="x")), r"\(Completion\.request_id: Field required\) at test_named"),
        (Odd(give=lambda done: done[9]), r"generate raised IndexError \(list index out of range\) at test_named\.py:\d+"),
    ],
)
def test_an_engine_that_does_not_answer_each_request_once_is_named(engine, says):
    with pytest.raises(SelfRewardError, match=says):
        completions(engine, asked("one", "two"))


def test_a_streaming_engine_that_leaves_a_request_out_ends_and_does_not_ask_for_ever():
    engine = Odd(give=lambda done: done[1:])
    engine.streams = True
    with pytest.raises(SelfRewardError, match="left 1 of 2 requests without an answer"):
        completions(engine, asked("one", "two"))


def test_an_engine_whose_disk_is_full_is_told_as_a_full_disk():
    def full(done):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        completions(Odd(give=full), asked("one"))


def test_positions_of_numpy_are_positions():
    assert len(completions(Odd(plan=np.array([[1, 0]])), asked("one", "two"))) == 2


def test_a_whole_engine_is_let_through():
    done = completions(FakeModel(), asked("one", "two"))
    assert len(done) == 2 and all(isinstance(one, Completion) for one in done.values())


@pytest.mark.parametrize(
    ("method", "given", "says"),
    [
        ("sft", None, "FakeTrainer: gave None, where the folder of the trained model is expected"),
        ("fits", [True], r"fits gave 1 answer for \d+ pairs"),
        ("fits", None, r"fits gave None for \d+ pairs"),
    ],
)
def test_a_trainer_that_returns_something_else_is_named(method, given, says, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeTrainer, method, lambda *arguments, **named: given)
    with pytest.raises(SelfRewardError, match=says):
        go(recipe, tmp_path / "run", prompts__per_iteration=12)


def test_a_loop_with_other_arguments_or_without_a_result_is_named(recipe, tmp_path):
    def short(recipe, seed): ...

    def silent(*arguments): ...

    with pytest.raises(SelfRewardError, match=r"short: takes \(recipe, seed\), and is called with \(recipe, seed, run, cast, "):
        api.run(recipe, tmp_path / "run", loop=short)
    assert not (tmp_path / "run").exists()
    with pytest.raises(SelfRewardError, match="silent: gave None, where the last model is expected"):
        api.run(recipe, tmp_path / "run", loop=silent)


class Loop:
    async def __call__(self, *arguments): ...


async def waits(*arguments): ...


@pytest.mark.parametrize(
    ("loop", "says"),
    [
        ("mine:loop", r"^loop: is a str, where a function of \(recipe, .*Name a function"),
        (3, r"^loop: is an int, where a function of"),
        (waits, r"^test_named:waits: is an async function"),
        (partial(waits, 1), r"^test_named:waits: is an async function"),
        (Loop(), r"^test_named:Loop: is an async function"),
    ],
)
def test_a_loop_that_cannot_be_called_is_refused_before_there_is_a_run(loop, says, recipe, tmp_path):
    with pytest.raises(SelfRewardError, match=says):
        api.run(recipe, tmp_path / "run", loop=loop)
    assert not (tmp_path / "run").exists()


def test_what_a_line_of_a_loop_raised_is_told_with_it_and_what_ours_raised_keeps_its_traceback(recipe, tmp_path):
    def wrong(*arguments):
        return {}["M9"]

    def of_ours(*arguments):
        raised(None)

    with pytest.raises(SelfRewardError, match=r"wrong: raised KeyError \('M9'\) at test_named\.py:\d+\. Correct it"):
        api.run(recipe, tmp_path / "run", loop=wrong)
    with pytest.raises(AttributeError):
        api.run(recipe, tmp_path / "run", loop=of_ours)


# what was read


def test_what_was_read_of_every_source_is_said_and_a_large_loss_is_warned_of(recipe, tmp_path, capsys):
    (tmp_path / "chats.jsonl").write_text(ROWS)
    source = {"path": str(tmp_path / "chats.jsonl"), "format": "messages"}
    changed = load_recipe(recipe, {"data.ift": source})
    told = check(changed, tmp_path / "run")
    ift = next(read for read in told.sources if read.field == "data.ift")
    assert ift.rows == 100 and ift.kept + sum(ift.dropped.values()) == 100
    if ift.lost:
        (finding,) = [one for one in told.findings if one.where.startswith("data.ift")]
        assert finding.level == "warning" and f"{sum(ift.lost.values())} of 100 rows" in finding.what
        assert "chats.jsonl:" in finding.now
    assert [read.field for read in told.sources] == ["data.ift", "data.eft", "data.heldout_prompts", "data.heldout_rankings"]


def test_a_check_that_cannot_be_made_is_refused_in_held_out_prompts_of_any_format(recipe, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Say it.", "instruction_id_list": ["punctuation:no_comas"], "kwargs": [{}]}\n')
    held_out = {"path": str(rows), "format": "columns"}
    told = check(load_recipe(recipe, {"judge.checks": "measure", "data.heldout_prompts": held_out}), tmp_path / "run")
    (finding,) = [one for one in told.findings if "no_comas" in str(one)]
    assert (finding.level, finding.where) == ("error", f"{rows}:1")


@pytest.mark.parametrize("how", ["measure", "score"])
def test_checks_that_no_prompt_carries_are_warned_of(how, recipe, tmp_path):
    told = check(load_recipe(recipe, {"judge.checks": how}), tmp_path / "run")
    (finding,) = [one for one in told.findings if one.where == "judge.checks"]
    assert finding.level == "warning" and "no prompt carries a check" in finding.what
    (tmp_path / "checked.jsonl").write_text('{"text": "What is 6 times 7?", "source": "seed", "checks": [{"answer": "42"}]}\n')
    changes = {"judge.checks": how, "data.heldout_prompts": str(tmp_path / "checked.jsonl")}
    assert not [one for one in check(load_recipe(recipe, changes), tmp_path / "run").findings if one.where == "judge.checks"]


def test_check_shows_errors_then_warnings_then_tables(recipe, tmp_path):
    changes = ["--set", "measure.truth=nowhere_at_all:truth", "--set", "cluster.type=local", "--set", "cluster.fsdp=true"]
    lines = CliRunner().invoke(app, ["check", str(recipe), "-o", str(tmp_path / "run"), *changes]).output.splitlines()
    kinds = [line.split(":")[0].strip() for line in lines]
    assert kinds.index("error") < kinds.index("warning") < kinds.index("Models") and "Sources" in kinds


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("size", [1, 2])
def test_a_request_that_is_there_twice_is_answered_twice(streams, size):
    engine = Odd(plan=[list(range(4))[start : start + size] for start in range(0, 4, size)])
    engine.streams = streams
    requests = asked("one", "two")
    batches = dict(enumerate([[*requests, *requests][at] for at in batch] for batch in engine.plan))
    given = list(answers(engine, batches))
    wanted = sorted((number, request.id) for number, batch in batches.items() for request in batch)
    assert sorted((number, completion.request_id) for number, completion in given) == wanted
