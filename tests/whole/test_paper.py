"""The paper's procedure, whole: its recipe, its rubric, Open Assistant's seeds, on a tiny model that knows the judge's format."""

import json
from collections import Counter
from importlib.resources import files

import pytest
import torch

from paper_world import ENDLESS, ONE_ANSWER, PLANTED, UNREADABLE, Writer, export, make_base, planted_trees, with_what_is_planted
from selfreward.api import execute
from selfreward.engines.sampling.hf import HFModel
from selfreward.recipe import load_recipe
from selfreward.records import Dropped, read_jsonl
from selfreward.steps import Grader, load_seed

RECIPE = files("selfreward") / "recipe" / "shipped" / "llama2-70b.toml"
SMALL = {
    # what a tiny model asks for
    "sft.learning_rate": 3e-5, "sft.end_learning_rate": 6e-6, "dpo.learning_rate": 3e-5, "dpo.end_learning_rate": 3e-6,
    "responses.max_tokens": 40, "judge.max_tokens": 40, "prompts.max_tokens": 60,
    # what fits into a minute
    "iterations": 1, "eft.tries": 6, "prompts.per_iteration": 75, "data.heldout": 8, "measure.bootstrap": 100,
    "sft.epochs": 1, "sft.device_batch_size": None, "dpo.batch_size": 2, "dpo.epochs": 1, "backend.device": "cpu",
    # rules that leave something out in so small a world
    "prompts.form": ".*[a-z].*", "eft.commonest": 0.2,
    # nobody from outside
    "servers": {}, "select": None, "measure.judge": None,
}  # fmt: skip
SEED_REASONS = {"language", "deleted", "not_reviewed", "empty", "unanswered", "unranked", "repeated", "bad_row"}


@pytest.fixture(scope="module")
def run(tmp_path_factory, reference):
    """A run of the paper's recipe with only the sizes changed, and the recipe."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("paper")
    trees = export(reference("oasst_ranked_trees"))
    texts = [reply["text"] for tree in trees for reply in tree["prompt"]["replies"]] + [tree["prompt"]["text"] for tree in trees]
    lines = [json.dumps(tree) for tree in (*trees, trees[0], *planted_trees())]
    (folder / "trees.jsonl").write_text("\n".join([*lines, '{"prompt": {}}']) + "\n")
    changes = {
        **SMALL, "base": str(folder / "base"), "prompts.frozen": "paper_world:Writer", "data.skip_bad_rows": True,
        "data.ift": {"path": str(folder / "trees.jsonl"), "format": "oasst", "language": "en", "limit": 30},
        "data.rankings": {"path": str(folder / "trees.jsonl"), "format": "oasst", "language": "en", "limit": 45},
    }  # fmt: skip
    recipe = load_recipe(RECIPE, changes)
    make_base(folder / "base", texts, Grader(recipe.judge).fill)
    seed = load_seed(recipe)
    short = [prompt.text for prompt in (seed.heldout_prompts[0], seed.prompts[0])]
    asked = [*short, UNREADABLE, *ONE_ANSWER, ENDLESS]
    Writer.base, Writer.planted = folder / "base", (*PLANTED.values(), *((text, "stop") for text in asked))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HFModel, "generate", with_what_is_planted(HFModel.generate))
        execute(recipe, folder / "run")
    return folder / "run", recipe


def receipt(path):
    return json.loads(path.read_text())


def lines(folder, stage):
    return [json.loads(line) for line in (folder / f"{stage}.jsonl").read_text().splitlines()]


def kept_and_dropped(folder, stage):
    """How many records a stage kept, and how many it dropped by reason."""
    return len(lines(folder, stage)), Counter(drop.reason for drop in read_jsonl(folder / f"{stage}.dropped.jsonl", Dropped))


def test_every_stage_yields_records(run):
    folder, _ = run
    counted = {str(path.relative_to(folder)).split(".")[0]: receipt(path) for path in folder.glob("*/*.receipt.json")}
    made = {"seed/ift", "seed/rankings", "seed/eft", "seed/eft_judgments", "seed/heldout_prompts", "seed/heldout_rankings"}
    made |= {f"M2/{name}" for name in ("proposed", "prompts", "responses", "judgments", "pairs", "heldout_responses")}
    assert {name for name in made if not counted[name]["records"]} == set()
    assert counted["M2/model"]["steps"] >= 10
    starts = [counted[f"{name}/model"]["start"] for name in ("SFT", "M1", "M2")]
    models = [counted[f"{name}/model"]["fingerprint"] for name in ("SFT", "M1", "M2")]
    assert starts == [starts[0], starts[0], models[1]] and len({*models, starts[0]}) == 4


def test_what_goes_into_a_stage_is_kept_or_dropped_with_a_reason(run):
    folder, recipe = run
    rows = len((folder.parent / "trees.jsonl").read_text().splitlines())
    kept, dropped = kept_and_dropped(folder, "seed/ift")
    assert rows == kept + dropped.total()
    assert dropped["held_out"] == 8 == len(lines(folder, "seed/heldout_prompts"))
    kept, dropped = kept_and_dropped(folder, "seed/rankings")
    assert rows == kept + sum(count for reason, count in dropped.items() if not reason.startswith("reply_"))
    assert dropped["held_out"] == len(lines(folder, "seed/heldout_rankings")) > 0
    judged = sum(len(ranking["responses"]) for ranking in lines(folder, "seed/rankings"))
    kept, dropped = kept_and_dropped(folder, "seed/eft")
    assert judged == kept + dropped.total()
    assert len(lines(folder, "seed/eft_judgments")) == judged * recipe.eft.tries
    kept, dropped = kept_and_dropped(folder, "M2/prompts")
    assert recipe.prompts.per_iteration == len(lines(folder, "M2/proposed")) == kept + dropped.total()
    assert len(lines(folder, "M2/responses")) == kept * recipe.responses.n
    answered = [response for response in lines(folder, "M2/responses") if response["finish"] != "error"]
    assert (
        len(lines(folder, "M2/judgments"))
        == len(answered) * recipe.judge.samples
        < kept * recipe.responses.n * recipe.judge.samples
    )
    pairs, dropped = kept_and_dropped(folder, "M2/pairs")
    assert kept == pairs + dropped.total()


def test_every_reason_for_dropping_occurs(run):
    folder, _ = run
    found = {
        name: set(kept_and_dropped(folder, name)[1])
        for name in ("seed/ift", "seed/rankings", "seed/eft", "M2/prompts", "M2/pairs")
    }
    assert found["seed/ift"] == SEED_REASONS | {"held_out", "over_limit"}
    replies = {"reply_deleted", "reply_unranked", "reply_empty"}
    assert (
        found["seed/rankings"]
        == SEED_REASONS | {"one_response", "all_tied", "in_ift", "measured_on", "held_out", "over_limit"} | replies
    )
    assert found["seed/eft"] == {"unparsed", "tied", "disagrees", "thinned"}
    assert found["M2/prompts"] == {*PLANTED, "held_out", "not_novel"}
    assert found["M2/pairs"] == {"tie", "same_text", "all_ran_out_of_length", "fewer_than_two_scored"}
    assert {judgment["outcome"] for judgment in lines(folder, "M2/judgments")} >= {"scored", "unparsed", "off_scale"}


def test_nothing_that_is_measured_on_is_trained_on(run):
    folder, _ = run
    heldout = {row["text"] for row in lines(folder, "seed/heldout_prompts")}
    heldout |= {row["prompt"] for row in lines(folder, "seed/heldout_rankings")}
    trained = {row["prompt"] for row in lines(folder, "seed/ift")} | {row["prompt"] for row in lines(folder, "seed/rankings")}
    assert heldout and trained and not heldout & trained
    assert not heldout & {row["text"] for row in lines(folder, "M2/prompts")}
    assert not any(f"User: {prompt}\n" in row["prompt"] for row in lines(folder, "seed/eft") for prompt in heldout)


def test_every_setting_but_those_named_here_is_the_papers(run):
    _, recipe = run
    assert (recipe.responses.n, recipe.judge.samples, recipe.dpo.beta, recipe.prompts.shots_seed) == (4, 3, 0.1, 6)
    assert recipe.judge.rubric.endswith("judge_additive.txt") and recipe.judge.by == "current"
    assert (recipe.prompts.by, recipe.sft.on, recipe.sft.dropout, recipe.dpo.dropout) == ("frozen", "ift+eft", 0.1, 0.1)
