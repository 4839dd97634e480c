"""What is trained is what was sampled: an answer's ids go from the engine through the records into a training row as they are."""

import json

import pytest
import torch
from test_families import Seen, rows
from test_templates import tokenizer_for
from transformers import AutoConfig, AutoModelForCausalLM

from families import ONE_LAYER, make_family
from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.tokens import answer_text, decode, encode, load_tokenizer, prompt_ids
from selfreward.engines.training.rows import dpo_row
from selfreward.engines.training.trl import TRLTrainer
from selfreward.recipe import BackendConfig, DPOConfig
from selfreward.records import Checkpoint, Completion, Message, Pair, Prompt, Response, Sampling, contrasts, to_line
from selfreward.steps import Answering
from template_kinds import KINDS

HARD = (
    "a header before the answer, and another end in the past",
    "one token opens and ends",
    "no end but the next turn's beginning",
    "a thought begun in the prompt, closed in the past",
    "an end that is written twice",
)
PROMPT = Prompt(text="Q", source="seed")
RESPONSE = {"prompt_id": "p", "model": "m", "index": 0, "text": "A", "finish": "stop"}


@pytest.fixture(scope="module", params=HARD)
def sampled(request, tmp_path_factory):
    """(kind, folder of a tiny model with random weights, engine, its answers to one prompt)."""
    folder, tokenizer = tmp_path_factory.mktemp("model"), tokenizer_for(KINDS[request.param].source)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model("llama", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **ONE_LAYER)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    engine, model = HFModel(folder, BackendConfig(device="cpu")), Checkpoint(name="M1", path=folder, fingerprint="f")
    asked = Answering(Sampling(temperature=1.0, top_p=1.0, max_tokens=60), 24).plan([PROMPT], model, 0)
    answers = list(engine.generate(asked))
    return KINDS[request.param], folder, engine, [Answering.read(*both) for both in zip(asked, answers, strict=True)], answers


def test_every_answer_is_read_back_without_markup_and_stops_where_training_ends(sampled):
    kind, _, engine, responses, answers = sampled
    assert decode(engine.tokenizer, prompt_ids(engine.tokenizer, [Message(role="user", content="Q")])) == kind.prompt
    assert {answer.finish for answer in answers} == {"stop", "length"}
    for answer, response in zip(answers, responses, strict=True):
        stopped = answer.finish == "stop"
        assert (answer.ids[-1] in engine.stops) == stopped and not engine.stops.intersection(answer.ids[:-1])
        assert answer.text == answer_text(engine.tokenizer, answer.ids[: len(answer.ids) - stopped])
        assert response.ids == answer.ids and len(answer.ids) == answer.completion_tokens + stopped


def test_a_batch_of_dpo_holds_the_sampled_ids_and_nothing_else(sampled, tmp_path, monkeypatch):
    _, folder, engine, responses, _ = sampled
    best, worst = (next(one for one in responses if one.finish == finish) for finish in ("stop", "length"))
    pair = Pair(prompt_id=PROMPT.id, chosen_id=best.id, rejected_id=worst.id, chosen_score=5, rejected_score=1)
    learnt = contrasts([pair], [PROMPT], responses)
    assert learnt == [("Q", best.ids, worst.ids)]
    seen = Seen(monkeypatch, "PlannedDPOTrainer")
    config = DPOConfig(batch_size=1, device_batch_size=1, epochs=1, learning_rate=1e-2)
    TRLTrainer().dpo(learnt, folder, folder, config, 3, tmp_path / "work", lambda steps: None)
    before = prompt_ids(engine.tokenizer, [Message(role="user", content="Q")])
    assert rows(seen.batch, seen.batch["completion_mask"].bool()) == sorted(
        ([*before, *one.ids], [False] * len(before) + [True] * len(one.ids)) for one in (best, worst)
    )


def test_what_the_trained_model_stops_on_includes_the_trained_end(sampled, tmp_path):
    _, folder, engine, responses, _ = sampled
    pair = ("Q", next(one.ids for one in responses if one.finish == "stop"), "A")
    config = DPOConfig(batch_size=1, device_batch_size=1, epochs=1, learning_rate=1e-2)
    made = TRLTrainer().dpo([pair], folder, folder, config, 3, tmp_path / "work", lambda steps: None)
    assert HFModel(made, BackendConfig(device="cpu")).stops == engine.stops


def test_ids_that_encoding_the_text_would_not_give_are_trained_as_they_were_sampled(tmp_path):
    tokenizer = load_tokenizer(make_family(tmp_path, "qwen 2, a base"))
    letters = [token for letter in "The wren." for token in encode(tokenizer, letter)]
    assert decode(tokenizer, letters) == "The wren." and len(letters) > len(encode(tokenizer, "The wren."))
    assert dpo_row(tokenizer, "x", tuple(letters), "The wren.")["chosen_ids"] == letters


def test_ids_are_no_part_of_an_id_and_are_left_out_of_a_line_where_they_are_not_known():
    plain, known = Response(**RESPONSE), Response(**RESPONSE, ids=(1, 2))
    assert plain.id == known.id
    assert json.loads(to_line(plain)) == {**RESPONSE, "id": plain.id}
    assert json.loads(to_line(known)) == {**RESPONSE, "ids": [1, 2], "id": plain.id}
    assert Response.model_validate_json(to_line(known)) == known
    completion = Completion(request_id="r", text="A", finish="stop", prompt_tokens=1, completion_tokens=1)
    assert "ids" not in to_line(completion)


def test_of_a_response_whose_ids_are_not_known_the_text_is_trained():
    responses = [Response(**RESPONSE), Response(**{**RESPONSE, "index": 1, "text": "B"}, ids=(5,))]
    prompt = Prompt(text="Q", source="seed")
    pair = Pair(prompt_id=prompt.id, chosen_id=responses[0].id, rejected_id=responses[1].id, chosen_score=2, rejected_score=1)
    assert contrasts([pair], [prompt], responses) == [("Q", "A", (5,))]
