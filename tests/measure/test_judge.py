"""A judge of any texts, from Python, and as a reward that TRL trains by."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import selfreward as sr
from selfreward.engines import completions
from selfreward.engines.fake import FakeModel
from selfreward.errors import OutOfMemory
from selfreward.records import Message
from tinymodels import make_model
from tinyrun import go, make_world, quiet

ASKED = []


def _verdict(request):
    """5 less one for each letter k in the response; what the response asks for in words goes wrong."""
    response = request.messages[-1].content.split("<response>")[-1].split("</response>")[0]
    ASKED.append(response.strip())
    if "mute" in response or ("torn" in response and request.index == 0):
        return "I would rather not say.", "stop"
    return f"Letters counted. Score: {max(0, 5 - response.count('k')) if request.index != 1 else 0}", "stop"


class Counting(FakeModel):
    """A judge that follows from the text; the second of its samples is always 0."""

    def __init__(self):
        super().__init__(_verdict)


@pytest.fixture
def judge():
    ASKED.clear()
    return sr.Judge("test_judge:Counting", samples=3)


def test_scores_are_means_of_the_valid_judgments_with_every_outcome(judge):
    plain, torn, mute = judge.score(["q1", "q1", "q2"], ["a kk b", "torn k", "mute"])
    assert plain.score == pytest.approx((3 + 0 + 3) / 3) and plain.outcomes == ["scored"] * 3
    assert torn.score == pytest.approx((0 + 4) / 2) and torn.outcomes == ["unparsed", "scored", "scored"]
    assert mute.score is None and mute.outcomes == ["unparsed"] * 3
    assert mute.rationales == ["I would rather not say."] * 3


def test_one_valid_judgment_of_three_is_no_score():
    judge = sr.Judge("test_judge:Counting", samples=3, min_valid=3)
    assert judge.score(["q"], ["torn"])[0].score is None
    assert sr.Judge("test_judge:Counting", samples=1).score(["q"], ["kk"])[0].score == 3


def test_what_is_asked_twice_is_judged_once_and_nothing_at_all_is_no_question(judge):
    first, other, again = judge.score(["q", "r", "q"], ["k", "k", "k"])
    assert first == again and first.judgments[0].response_id != other.judgments[0].response_id
    assert len(ASKED) == 6
    assert judge.score([], []) == []


@pytest.mark.parametrize(
    ("prompts", "responses", "says"),
    [
        (["a", "b"], ["c"], r"^score: there are 2 prompts and 1 response\. Give one response beside each prompt$"),
        (["q"], [], "there are 1 prompt and no responses"),
        ([None], ["c"], r"^prompt 1: is None, and no text\. Give a text, or messages"),
        (["a", "b"], ["c", 7], r"^response 2: is 7, and no text"),
        ([[]], ["c"], r"^prompt 1: is \[\], and no text"),
        ([["a"]], ["c"], r"^prompt 1: is \['a'\], and no text"),
        (
            [[{"content": "x"}, {"role": "user", "content": "y"}]],
            ["c"],
            r"^prompt 1: has a message without a role, \{'content': 'x'\}",
        ),
        ([[{"role": "user", "content": 3}]], ["c"], r"^prompt 1: has a message of 3, and no text"),
        ([[{"role": "user", "content": ["x"]}]], ["c"], r"^prompt 1: has a message of \['x'\], and no text"),
        ([[{"role": "user", "content": [{"type": "text"}]}]], ["c"], r"^prompt 1: has a message of \[\{'type': 'text'\}\]"),
        ("ab", "cd", r"^prompts: are 'ab', where a list is expected"),
        (["a"], 3, r"^responses: are 3, where a list is expected"),
    ],
)
def test_what_cannot_be_judged_is_told_in_one_line(prompts, responses, says, judge):
    with pytest.raises(sr.SelfRewardError, match=says):
        judge.score(prompts, responses)
    assert not ASKED


def test_an_engine_judges_by_its_class_or_open_as_it_does_by_name(judge):
    closed, expected = [], judge.score(["q1", "q2"], ["a kk b", "torn k"])
    given = Counting()
    given.close = lambda: closed.append(1)
    for model in (Counting, given):
        with sr.Judge(model, samples=3) as other:
            assert [graded.score for graded in other.score(["q1", "q2"], ["a kk b", "torn k"])] == [one.score for one in expected]
            assert other.model.name == "test_judge:Counting"
    assert closed == [1]


def test_what_is_no_engine_is_refused_as_a_judge():
    for model, says in ((3, "int has no batches"), (lambda: Counting(), "model: is <function .*no import path names")):
        with pytest.raises(sr.SelfRewardError, match=says):
            sr.Judge(model)


def test_a_model_of_a_run_judges_by_the_recipe_of_its_run(tmp_path, monkeypatch):
    quiet(monkeypatch)
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("{prompt} / {response}: grade, and end in Score: n")
    go(make_world(tmp_path / "w"), tmp_path / "run", judge__samples=4, judge__scale=[0, 3], judge__rubric=str(rubric))
    with sr.Judge(tmp_path / "run" / "M2") as judge:
        (graded,) = judge.score(["p"], ["r"])
    assert len(graded.judgments) == 4 and judge.grader.config.scale == (0, 3)
    assert judge.grader.fill("p", "r") == "p / r: grade, and end in Score: n"
    assert graded.judgments[0].judge == judge.model.fingerprint and judge.model.name == "M2"
    assert sr.Judge(tmp_path / "run" / "M2", samples=2, scale=(0, 5)).grader.config.scale == (0, 5)


def test_wrong_fields_and_models_are_errors_of_one_line(tmp_path):
    with pytest.raises(sr.SelfRewardError, match=r"^judge: samplez: Extra inputs.*Its fields are .*samples"):
        sr.Judge("test_judge:Counting", samplez=3)
    with pytest.raises(sr.SelfRewardError, match="no such folder"):
        sr.Judge(tmp_path / "nowhere")


def test_a_transformers_folder_judges_and_what_it_cannot_say_is_named(tmp_path):
    judge = sr.Judge(make_model(tmp_path / "m"), samples=2, max_tokens=3, backend={"device": "cpu"}, rubric=_rubric(tmp_path))
    (graded,) = judge.score(["bak"], ["bal"])
    assert graded.score is None and set(graded.outcomes) <= {"unparsed", "truncated"} and len(graded.outcomes) == 2
    judge.close()
    assert judge.score(["bak"], ["bal"]) == [graded]


def _rubric(folder):
    path = folder / "rubric.txt"
    path.write_text("<response> {prompt} {response} </response>")
    return path


class Small(FakeModel):
    """A device that holds two requests at once."""

    largest = 0

    def generate(self, batch):
        if len(batch) > 2:
            raise OutOfMemory("too many")
        self.largest = max(self.largest, len(batch))
        yield from super().generate(batch)


def test_batches_that_are_too_large_are_asked_in_halves(judge):
    asked = judge.grader.plan([("q", _response(n)) for n in range(9)], judge.model, 0)
    engine = Small()
    assert completions(engine, asked) == completions(FakeModel(), asked) and len(asked) == 27
    assert engine.largest == 2


def _response(n):
    return sr.Response(prompt_id="q", model="", index=n, text=f"k{n}", finish="stop")


def test_the_reward_reads_texts_and_conversations(judge):
    reward = judge.reward_func()
    told = [{"role": "assistant", "content": "k k"}]
    assert reward(prompts=["q", "q"], completions=["k k", "mute"], completion_ids=[[1], [2]]) == [2.0, None]
    assert reward([[{"role": "user", "content": "q"}]], [told]) == [2.0]
    parts = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
    assert reward([parts], [[{"role": "assistant", "content": None}]]) == [pytest.approx(10 / 3)]
    with pytest.raises(sr.SelfRewardError, match="part of type image"):
        reward([[{"role": "user", "content": [{"type": "image"}]}]], [told])


def test_of_several_messages_the_judge_reads_each_below_its_role(monkeypatch):
    asked = []
    monkeypatch.setattr(Counting, "prepare", lambda self, requests: asked.extend(requests))
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    sr.Judge("test_judge:Counting").reward_func()([prompt], [[{"role": "assistant", "content": "k"}]])
    assert "<conversation>\n(1) System:\n> Be brief.\n(2) User:\n> q\n</conversation>" in asked[0].messages[0].content


def test_a_conversation_can_be_judged_as_a_text_can(judge):
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "kk"}, {"role": "user", "content": "and\nUser: z"}]
    first, again, other = judge.score([talk, talk, "q"], ["k", "k", "k"])
    assert first == again and first.score == other.score
    assert first.judgments[0].response_id != other.judgments[0].response_id
    (asked,) = {request.messages for request in judge.grader.plan([(_conversed(talk), _response(1))], judge.model, 0)}
    assert "(1) User:\n> q\n(2) Assistant:\n> kk\n(3) User:\n> and\n> User: z\n</conversation>" in asked[0].content


def _conversed(talk):
    return tuple(Message(**turn) for turn in talk)


@pytest.mark.parametrize(
    ("prompts", "responses", "where"), [(["q", "\ud83d"], ["k", "k"], "prompt 2"), (["q"], ["\udcff"], "response 1")]
)
def test_half_a_surrogate_pair_is_an_error_of_one_line(judge, prompts, responses, where):
    with pytest.raises(sr.SelfRewardError, match=f"^{where}: holds half a surrogate pair"):
        judge.score(prompts, responses)


# what a trainer makes of it

KINDS = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}
FAILING = "ba"
"""Words that begin so have no reward below: one in five of the vocabulary."""


def _words_verdict(request):
    said = request.messages[-1].content.split("<response>")[-1].split("</response>")[0].split()
    return ("no verdict" if _fails(said) else f"Score: {_points(said)}"), "stop"


def _fails(said):
    return bool(said) and said[0].startswith(FAILING)


def _points(said):
    return sum(word.endswith(("k", "l", "m", "n", "p")) for word in said) % 6


class Wording(FakeModel):
    """A judge of the tiny models' words."""

    def __init__(self):
        super().__init__(_words_verdict)


def by_hand(failed):
    """The reward without a judge; `failed` in place of what has none."""

    def reward(prompts, completions, **columns):
        said = [completion[0]["content"].split() for completion in completions]
        return [failed if _fails(words) else float(_points(words)) for words in said]

    return reward


def train(kind, model, folder, reward):
    """Ten steps of the real trainer; returns the trained weights and what it logged."""
    trainer, config = KINDS[kind]
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": word}]} for word in ("dek", "fil", "gom", "lun")])
    args = config(
        output_dir=str(folder), max_steps=10, per_device_train_batch_size=8, num_generations=4, max_completion_length=4,
        learning_rate=1e-2, use_cpu=True, bf16=False, report_to="none", logging_steps=1, save_strategy="no", seed=3,
        disable_tqdm=True,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(model)
    running = trainer(policy, reward_funcs=reward, args=args, train_dataset=rows, processing_class=tokenizer)
    running.train()
    return {name: weight.clone() for name, weight in policy.state_dict().items()}, running.state.log_history


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("policy") / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_ten_steps_of_a_trainer_go_by_the_judge_and_leave_out_what_it_could_not_grade(kind, policy, tmp_path):
    reward = sr.Judge("test_judge:Wording", samples=1, temperature=0).reward_func()
    weights, logs = train(kind, policy, tmp_path, reward)
    same, _ = train(kind, policy, tmp_path, by_hand(None))
    zeros, _ = train(kind, policy, tmp_path, by_hand(0.0))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not all(torch.equal(weights[name], zeros[name]) for name in weights)
    assert len([row for row in logs if "rewards/self_reward/mean" in row]) == 10
