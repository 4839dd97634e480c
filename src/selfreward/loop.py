"""Self-Rewarding Language Models (Yuan et al. 2024, section 2): the whole algorithm, from M0 to M_{iterations+1}."""

from __future__ import annotations

from collections.abc import Mapping

from selfreward.config import Recipe
from selfreward.cures import trusted, without_flukes
from selfreward.drift.watch import Watcher
from selfreward.eft import make_eft
from selfreward.judgments import Judge
from selfreward.measure import Made, Measurer
from selfreward.models import Cast
from selfreward.pairs import choose_pairs, preferences_of
from selfreward.prompts import choose_prompts, plan_prompts, read_proposal, take_prompts
from selfreward.records import Checkpoint, Preference, Prompt, Proposal, Response
from selfreward.responses import plan_responses, read_response
from selfreward.rounds import judge_candidates
from selfreward.seed import Seed
from selfreward.selection import load_selector
from selfreward.stages import Folder, Run


def self_reward(
    recipe: Recipe, seed: Seed, run: Run, cast: Cast, measurer: Measurer, watcher: Watcher,
    turns: Mapping[int, Recipe] | None = None,
) -> Checkpoint:  # fmt: skip
    """Train, measure and watch M0, SFT, M1, M2, …; returns the last model, or the one of which a monitor says `stop`.

    `turns`: t → another recipe, which holds from M_t on, of a run that was branched from another.
    """
    selector = load_selector(recipe, seed, cast, run["seed"])
    if recipe.measure.base:
        measurer.measure(run["M0"], cast.base)
    if recipe.sft.baseline:
        baseline = run["SFT"].train_sft(seed.examples("ift"), cast.base, recipe.sft, recipe.seed)
        measurer.measure(run["SFT"], baseline)
        if seed.rankings and "eft" in recipe.sft.on:
            seed = make_eft(seed, recipe, baseline, run["seed"])
    model = cast.base
    if recipe.sft.on != "none":
        model = run["M1"].train_sft(seed.examples(recipe.sft.on), cast.base, recipe.sft, recipe.seed)
    model = cast.join("M1", model)
    measurer.measure(run["M1"], model)
    verdict = watcher.watch(run["M1"], model, measurer)
    # Nothing that is validated on may be learnt from: new prompts that repeat one are dropped as held out.
    apart = [*(selector.prompts if selector else []), *watcher.prompts]
    guarded = seed._replace(heldout_prompts=[*seed.heldout_prompts, *apart])
    written: list[Prompt] = []
    preferences: list[Preference] = []
    for t in range(2, recipe.iterations + 2):
        if verdict == "stop":
            break
        if turns and t in turns:
            recipe = turns[t]
            selector = load_selector(recipe, seed, cast, run["seed"])
            measurer.follow(recipe)
            watcher.follow(recipe)
        made, texts = iterate(t, model, recipe, guarded, written, run[f"M{t}"], cast)
        written += made.prompts
        preferences = preferences + texts if recipe.pairs.accumulate else texts
        dpo = trusted(recipe, made, run[f"M{t}"], model, cast)
        model = cast.join(f"M{t}", run[f"M{t}"].train_dpo(preferences, model, model, dpo, recipe.seed, selector))
        measurer.measure(run[f"M{t}"], model, made)
        verdict = watcher.watch(run[f"M{t}"], model, measurer, made)
    return model


def iterate(
    t: int, model: Checkpoint, recipe: Recipe, seed: Seed, written: list[Prompt], it: Folder, cast: Cast
) -> tuple[Made, list[Preference]]:
    """Make the preference pairs for M_t with the model before it: prompts → responses → judgments → pairs."""
    judge, config = Judge(recipe.judge), recipe.prompts
    proposals: list[Proposal] = []
    if config.source:
        prompts = it.keep("prompts", take_prompts(config, t, seed.heldout))
    else:
        writer = cast.writer(config, model)
        asked = plan_prompts(seed.prompts, written, config, writer, recipe.seed, t)
        proposals = it.sample("proposed", Proposal, asked, writer, read_proposal)
        prompts = it.keep("prompts", choose_prompts(proposals, seed.prompts, written, seed.heldout, config))
    plan = plan_responses(prompts, recipe.responses.n, recipe.responses.sampling, model, recipe.seed)
    responses = it.stream("responses", Response, plan, model, read_response)
    texts = {prompt.id: prompt.text for prompt in prompts}
    grader = cast.judge(recipe.judge, model)
    judgments = judge_candidates(it, [(texts[one.prompt_id], one) for one in responses], judge, grader, recipe.seed)
    chosen = choose_pairs(prompts, responses, judge.mean_scores(judgments), cast.policy(recipe.pairs))
    pairs = it.keep("pairs", without_flukes(chosen, responses, judgments, recipe))
    it.require(pairs)
    made = Made(len(proposals), prompts, responses, judgments, pairs)
    return made, preferences_of(pairs, prompts, responses)
