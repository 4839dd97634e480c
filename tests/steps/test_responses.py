"""Candidates: N of each prompt, as many as the recipe says, and only what the model generated."""

import pytest

from selfreward.records import Checkpoint, Completion, Prompt, Sampling
from selfreward.steps import Answering

MODEL = Checkpoint(name="M1", path="m1", fingerprint="f1")
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)
PROMPTS = [Prompt(text=text, source="self") for text in ("name a bird", "name a fish")]


def asks_n_times(plan, n):
    requests = plan(n)
    assert [(r.about, r.index) for r in requests] == [(prompt.id, index) for prompt in PROMPTS for index in range(n)]
    assert len({r.id for r in requests}) == len({r.seed for r in requests}) == 2 * n
    assert {(r.sampling, r.model) for r in requests} == {(SAMPLING, "f1")}


@pytest.mark.parametrize("n", [2, 4, 7])
def test_each_prompt_is_answered_n_times_from_seeds_of_their_own(n):
    asks_n_times(lambda n: Answering(SAMPLING, n).plan(PROMPTS, MODEL, 0), n)


def test_an_n_that_is_not_passed_on_would_be_caught():
    with pytest.raises(AssertionError):
        asks_n_times(lambda n: Answering(SAMPLING, 4).plan(PROMPTS, MODEL, 0), 7)  # lucidrains: N stays 4


def only_what_was_generated(response_of):
    request = Answering(SAMPLING).plan(PROMPTS, MODEL, 0)[0]
    done = Completion(request_id=request.id, text=" a heron\n", finish="length", prompt_tokens=3, completion_tokens=2)
    assert response_of(request, done) == "a heron"


def test_a_response_is_what_the_model_generated_and_says_how_it_ended():
    only_what_was_generated(lambda request, done: Answering.read(request, done).text)
    request = Answering(SAMPLING, 3).plan(PROMPTS, MODEL, 0)[2]
    done = Completion(request_id=request.id, text="a heron", finish="length", prompt_tokens=3, completion_tokens=2)
    response = Answering.read(request, done)
    assert (response.prompt_id, response.index, response.model, response.finish) == (PROMPTS[0].id, 2, "f1", "length")


def test_a_response_that_repeats_its_prompt_would_be_caught():
    with pytest.raises(AssertionError):  # lucidrains: sample() returns prompt and response
        only_what_was_generated(lambda request, done: request.messages[-1].content + done.text)
