"""The three forms of a stage: what a torn journal costs, what a corrupt one says, and what is never asked twice."""

import hashlib
import json

import pytest

from selfreward.engines import load_checkpoint
from selfreward.engines.fake import FakeModel, FakeTrainer
from selfreward.errors import OutOfMemory, SelfRewardError
from selfreward.recipe import NO_MATTER, DPOConfig, SFTConfig, TrainerConfig
from selfreward.records import (
    Dropped,
    Pair,
    Prompt,
    Request,
    Response,
    Sampling,
    contrasts,
    file_hash,
    files,
    fingerprint,
    preference_texts,
)
from selfreward.rundir import MODEL, PROMPTS, RESPONSES, Progress, RunDir, Runner, stages, versions
from selfreward.rundir.trainings import decisive
from selfreward.steps import Answering
from tinyrun import Killed, go, make_world, quiet

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=8)


class Echo(FakeModel):
    """Batches of two; counts what it is asked, and dies when told to."""

    def __init__(self, text="word", dies_after=99):
        super().__init__(lambda request: (f"{text} {request.seed}", "stop"))
        self.asked, self.dies_after, self.closed = [], dies_after, False

    def batches(self, requests):
        return [list(range(at, min(at + 2, len(requests)))) for at in range(0, len(requests), 2)]

    def generate(self, batch):
        if len(self.asked) >= self.dies_after:
            raise Killed
        self.asked += [request.index for request in batch]
        return super().generate(batch)

    def close(self):
        self.closed = True


@pytest.fixture
def base(tmp_path, monkeypatch):
    quiet(monkeypatch)
    make_world(tmp_path / "world")
    return load_checkpoint("M0", str(tmp_path / "world" / "base"))


def requests(base, count=5):
    return [Request.user_turn("about", index, "say it", SAMPLING, base, 0) for index in range(count)]


def opened(tmp_path, model):
    folder = RunDir(tmp_path / "run", {"seed": 1})
    return folder, Runner(folder, lambda checkpoint: model, FakeTrainer, Progress(folder.logs))


def sample(tmp_path, model, asked, base):
    folder, run = opened(tmp_path, model)
    try:
        return list(run["M1"].complete(RESPONSES, asked, base, Answering.read))
    finally:
        folder.close()


@pytest.fixture
def torn(tmp_path, base):
    """A journal of two whole lines, and how it goes on: (journal, its bytes, records of an undisturbed stage)."""
    whole = sample(tmp_path / "other", Echo(), requests(base), base)
    with pytest.raises(Killed):
        sample(tmp_path, Echo(dies_after=4), requests(base), base)
    journal = tmp_path / "run" / "M1" / "responses.journal.jsonl"
    return journal, journal.read_bytes(), whole


def test_answers_are_in_the_order_of_the_requests_whatever_order_they_came_in(tmp_path, base):
    records = sample(tmp_path, Echo(), requests(base), base)
    assert [record.index for record in records] == [0, 1, 2, 3, 4]
    assert sample(tmp_path, Echo(dies_after=0), requests(base), base) == records


def test_a_last_line_torn_at_any_byte_is_owed_again_and_nothing_else_is(tmp_path, base, torn):
    journal, content, whole = torn
    first = content.index(b"\n") + 1
    plan = (journal.parent / "responses.plan.json").read_bytes()
    for cut in range(first, len(content) + 1):
        (journal.parent / "responses.plan.json").write_bytes(plan)
        journal.write_bytes(content[:cut])
        model = Echo()
        assert sample(tmp_path, model, requests(base), base) == whole
        assert model.asked == ([4] if cut == len(content) else [2, 3, 4]), cut
        (journal.parent / "responses.receipt.json").unlink()
        (journal.parent / "responses.jsonl").unlink()
    assert len(content) - first > 200


def test_a_torn_line_is_cut_off_before_anything_is_written_after_it(tmp_path, base, torn):
    journal, content, whole = torn
    journal.write_bytes(content[:-9])
    with pytest.raises(Killed):
        sample(tmp_path, Echo(dies_after=2), requests(base), base)
    assert journal.read_bytes() == content
    assert sample(tmp_path, Echo(), requests(base), base) == whole


@pytest.mark.parametrize("line", [0, 1])
def test_a_changed_line_is_refused_by_number_and_left_as_it_is(line, tmp_path, base, torn):
    journal, content, _ = torn
    lines = content.splitlines(keepends=True)
    for change in [(b"word", b"ward"), (b'"number"', b'"numbir"'), (b"{", b""), (b'"id"', b'"di"')]:
        bad = b"".join(text.replace(*change, 1) if at == line else text for at, text in enumerate(lines))
        assert bad != content
        journal.write_bytes(bad)
        with pytest.raises(SelfRewardError, match=f"line {line + 1} is not what this program wrote") as caught:
            sample(tmp_path, Echo(), requests(base), base)
        assert str(journal) in caught.value.now and journal.read_bytes() == bad


def test_a_journal_of_other_requests_is_refused(tmp_path, base, torn):
    journal, content, _ = torn
    (journal.parent / "responses.plan.json").unlink()
    with pytest.raises(SelfRewardError, match="holds answers to other requests than these"):
        sample(tmp_path, Echo(), requests(base, 4)[1:], base)
    assert journal.read_bytes() == content


def test_text_with_every_kind_of_line_end_survives_a_kill(tmp_path, base):
    text = "a\nb\r\nc\x0b\x0c\x1c\x85d\u2028e\u2029f\ud7ff"
    with pytest.raises(Killed):
        sample(tmp_path, Echo(text, dies_after=2), requests(base), base)
    model = Echo(text)
    records = sample(tmp_path, model, requests(base), base)
    assert model.asked == [2, 3, 4]
    assert sample(tmp_path, Echo(dies_after=0), requests(base), base) == records
    assert records[0].text.startswith(text)


def test_a_plan_of_batches_once_written_is_kept_to(tmp_path, base, torn):
    _, _, whole = torn
    model = Echo()
    model.batches = lambda asked: pytest.fail("planned again")
    assert sample(tmp_path, model, requests(base), base) == whole


def test_a_stage_without_requests_needs_no_model(tmp_path, base):
    folder, run = opened(tmp_path, None)
    assert list(run["M1"].complete(RESPONSES, [], base, Answering.read)) == []
    assert (tmp_path / "run/M1/responses.receipt.json").exists() and (tmp_path / "run/M1/responses.jsonl").read_text() == ""
    folder.close()


def test_one_engine_is_held_at_a_time_and_given_back_before_training(tmp_path, base):
    engines = {}

    def open_model(checkpoint):
        return engines.setdefault(checkpoint.fingerprint, Echo())

    folder = RunDir(tmp_path / "run", {})
    run = Runner(folder, open_model, FakeTrainer, Progress(folder.logs))
    other = base.model_copy(update={"fingerprint": "other"})
    first = run.load(base)
    assert run.load(base) is first and not first.closed
    second = run.load(other)
    assert first.closed and not second.closed
    run["M1"].train_sft([("a", "b")], base, SFTConfig(), 0)
    assert second.closed
    folder.close()


def test_a_pure_stage_writes_what_it_kept_and_what_it_dropped_and_counts_the_reasons(tmp_path, base):
    folder, run = opened(tmp_path, None)
    kept = [Prompt(text="new", source="self")]
    dropped = [Dropped(id=str(n), stage="prompts", reason=reason) for n, reason in enumerate(["long", "old", "long"])]
    assert run["M2"].keep(PROMPTS, (kept, dropped)) == kept
    assert run["M2"].dropped(PROMPTS) == {"long": 2, "old": 1}
    with pytest.raises(SelfRewardError, match="its inputs changed"):
        run["M2"].keep(PROMPTS, (kept, dropped[1:]))
    folder.close()


def test_no_usable_pair_at_all_is_one_error_that_counts_why(tmp_path, monkeypatch):
    quiet(monkeypatch)
    recipe = make_world(tmp_path / "world")
    for _ in range(2):
        with pytest.raises(SelfRewardError) as caught:
            go(recipe, tmp_path / "run", judge__pattern="nothing ([0-5])")
        assert caught.value.what.startswith("no usable pair (fewer_than_two_scored ")
        assert caught.value.where == str(tmp_path / "run/M2/judgments.jsonl")
        assert not (tmp_path / "run/M2/model.plan.json").exists()


def test_fine_tuning_on_sampled_ids_is_refused_with_the_function_that_gives_texts(tmp_path, base):
    folder, run = opened(tmp_path, None)
    with pytest.raises(SelfRewardError, match=r"1 of 2 answers came as sampled ids.*preference_texts"):
        run["M1"].train_sft([("p", "text"), ("q", (1, 2))], base, SFTConfig(), 0)
    folder.close()


def test_a_model_without_a_receipt_or_a_plan_is_not_taken_for_the_one_asked(tmp_path, base):
    folder, run = opened(tmp_path, None)
    made = run["M1"].train_sft([("a", "b")], base, SFTConfig(), 0)
    (tmp_path / "run/M1/model.receipt.json").unlink()
    with pytest.raises(SelfRewardError, match="has no receipt") as caught:
        run["M1"].train_sft([("a", "b")], base, SFTConfig(epochs=1), 0)
    assert f"rm -r {made.path}" in caught.value.now
    folder.close()


def test_a_training_is_made_again_from_the_same_examples_start_reference_and_settings_only(tmp_path, base):
    folder, run = opened(tmp_path, None)
    pairs = [("p", "good", "bad")]
    made = run["M2"].train_dpo(pairs, base, base, DPOConfig(), 0)
    assert run["M2"].train_dpo(pairs, base, base, DPOConfig(checkpoint_every=1), 0) == made
    other = base.model_copy(update={"fingerprint": "other"})
    changed = [
        ([("p", "bad", "good")], base, base, DPOConfig(), 0), (pairs, other, base, DPOConfig(), 0),
        (pairs, base, other, DPOConfig(), 0), (pairs, base, base, DPOConfig(beta=0.2), 0), (pairs, base, base, DPOConfig(), 1),
    ]  # fmt: skip
    for given in changed:
        with pytest.raises(SelfRewardError, match="would not be the ones asked for"):
            run["M2"].train_dpo(*given)
    folder.close()


def test_weights_are_read_for_their_hash_once_before_a_training_and_once_after(tmp_path, base, monkeypatch):
    read = []
    for module in (files, stages):
        monkeypatch.setattr(module, "file_hash", lambda path, hashed=file_hash: (read.append(path), hashed(path))[1])
    folder, run = opened(tmp_path, None)
    made = run["M2"].train_dpo([("p", "good", "bad")], base, base, DPOConfig(), 0)
    weights = [path.parent for path in read if path.suffix == ".safetensors"]
    assert weights == [base.path, made.path] and made.fingerprint == fingerprint(made.path)
    hashes = run["M2"].receipt(MODEL)["files"]
    assert hashes and all(hashes[name] == file_hash(folder.path / "M2" / name) for name in hashes)
    with pytest.raises(SelfRewardError, match="which M0 was"):
        run["M3"].train_dpo([("p", "good", "bad")], base, base.model_copy(update={"fingerprint": "other"}), DPOConfig(), 0)
    folder.close()


def test_a_training_on_texts_has_the_digest_it_had_before_answers_could_be_ids(tmp_path, base):
    """A record of what the digest is made of, written out: a run begun before goes on."""
    prompt, answers = Prompt(text="p", source="seed"), {"model": "m", "finish": "stop"}
    responses = [Response(prompt_id=prompt.id, index=index, text=text, **answers) for index, text in enumerate(["good", "bad"])]
    chosen, rejected = (response.id for response in responses)
    pairs = [Pair(prompt_id=prompt.id, chosen_id=chosen, rejected_id=rejected, chosen_score=2, rejected_score=1)]
    assert contrasts(pairs, [prompt], responses) == preference_texts(pairs, [prompt], responses) == [("p", "good", "bad")]
    folder, run = opened(tmp_path, None)
    run["M2"].train_dpo(contrasts(pairs, [prompt], responses), base, base, DPOConfig(), 0)
    settings, same = DPOConfig().model_dump(mode="json", exclude=NO_MATTER), base.fingerprint
    made_from = ["dpo", [["p", "good", "bad"]], same, same, settings, 0, decisive(TrainerConfig()), None, versions()]
    line = json.dumps(made_from, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert run["M2"].receipt(MODEL)["digest"] == hashlib.sha256(line.encode()).hexdigest()[:16]
    known = [response.model_copy(update={"ids": (index, 9)}) for index, response in enumerate(responses)]
    assert [response.id for response in known] == [chosen, rejected]
    with pytest.raises(SelfRewardError, match="would not be the ones asked for"):
        run["M2"].train_dpo(contrasts(pairs, [prompt], known), base, base, DPOConfig(), 0)
    folder.close()


# ——— a device that cannot hold a batch ———


class Cramped(Echo):
    """One batch of all; holds three requests at once, or as many as `room`. What it says tells who was beside it."""

    def __init__(self, room=3, dies_after=99):
        super().__init__(dies_after=dies_after)
        self.room, self.told = room, []

    def batches(self, requests):
        return [list(range(len(requests)))]

    def prepare(self, requests):
        self.told.append([request.index for request in requests])

    def generate(self, batch):
        if len(batch) > self.room:
            raise OutOfMemory
        beside = ",".join(str(request.index) for request in batch)
        self._write = lambda request: (f"{request.index} beside {beside}", "stop")
        return super().generate(batch)


def test_a_batch_that_is_too_large_is_halved_until_it_fits_and_the_plan_remembers(tmp_path, base):
    asked = requests(base, 11)
    whole = sample(tmp_path / "other", Cramped(), asked, base)
    halves = ["0,1,2", "3,4,5", "6,7,8", "9,10"]
    assert [record.text.split()[-1] for record in whole] == [half for half in halves for _ in half.split(",")]
    with pytest.raises(Killed):
        sample(tmp_path, Cramped(dies_after=4), asked, base)
    roomier = Cramped(room=99)  # resumed where there is more room, the batches stay as they were asked
    assert sample(tmp_path, roomier, asked, base) == whole
    assert sorted(roomier.asked) == [3, 4, 5, 9, 10] or len(roomier.asked) < 11
    assert roomier.told == [list(range(11))]


def test_an_engine_that_cannot_hold_a_single_request_fails_as_it_does(tmp_path, base):
    class Hopeless(Cramped):
        def generate(self, batch):
            if len(batch) > 1:
                raise OutOfMemory
            raise MemoryError("not one")

    with pytest.raises(MemoryError, match="not one"):
        sample(tmp_path, Hopeless(), requests(base), base)


def test_an_engine_is_told_of_all_requests_before_the_first_and_again_when_it_goes_on(tmp_path, base):
    model = Cramped(room=1, dies_after=2)
    with pytest.raises(Killed):
        sample(tmp_path, model, requests(base), base)
    again = Cramped(room=1)
    sample(tmp_path, again, requests(base), base)
    assert model.told == again.told == [[0, 1, 2, 3, 4]]
    finished = Cramped()
    sample(tmp_path, finished, requests(base), base)
    assert finished.told == []
