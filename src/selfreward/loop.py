"""Self-Rewarding Language Models (Yuan et al. 2024, section 2): the whole algorithm, from M0 to M_{iterations+1}."""

from __future__ import annotations

from collections.abc import Mapping

from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe
from selfreward.records import Checkpoint, Made, Prompt, Proposal, Response, preference_texts
from selfreward.rundir import ModelFolder, Runner
from selfreward.steps import (
    Cast,
    Judge,
    Seed,
    choose_pairs,
    choose_prompts,
    judge_candidates,
    load_selector,
    make_eft,
    pair_policy,
    plan_prompts,
    plan_responses,
    read_proposal,
    read_response,
    take_prompts,
    trusted,
    without_flukes,
)


def self_reward(
    recipe: Recipe, seed: Seed, run: Runner, cast: Cast, measurer: Measurer, watcher: Watcher,
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
    preferences: list[tuple[str, str, str]] = []
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
    t: int, model: Checkpoint, recipe: Recipe, seed: Seed, written: list[Prompt], it: ModelFolder, cast: Cast
) -> tuple[Made, list[tuple[str, str, str]]]:
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
    chosen = choose_pairs(prompts, responses, judge.mean_scores(judgments), pair_policy(recipe.pairs))
    pairs = it.keep("pairs", without_flukes(chosen, responses, judgments, recipe))
    it.require(pairs)
    made = Made(len(proposals), prompts, responses, judgments, pairs)
    return made, preference_texts(pairs, prompts, responses)
