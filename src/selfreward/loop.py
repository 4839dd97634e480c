"""Self-Rewarding Language Models (Yuan et al. 2024, section 2): the whole algorithm, from M0 to M_{iterations+1}."""

from __future__ import annotations

from collections.abc import Mapping

from selfreward.measure import Measurer, Watcher
from selfreward.recipe import Recipe
from selfreward.records import Checkpoint, Contrast, Iteration, Prompt, Proposal, contrasts
from selfreward.rundir import M0, M1, PAIRS, PROMPTS, PROPOSED, RESPONSES, SEED, SFT, ModelFolder, Runner
from selfreward.steps import (
    Answering,
    Cast,
    Seed,
    choose_prompts,
    judge_candidates,
    load_selector,
    make_eft,
    pick_pairs,
    plan_prompts,
    read_proposal,
    require_pairs,
    take_prompts,
    teach_judge,
    trusted,
    without_doubt,
)


def self_reward(
    recipe: Recipe, seed: Seed, run: Runner, cast: Cast, measurer: Measurer, watcher: Watcher,
    turns: Mapping[int, Recipe],
) -> Checkpoint:  # fmt: skip
    """Train, measure and watch M0, SFT, M1, M2, …; returns the last model, or the one of which a monitor says `stop`.

    A model of which a monitor says `back` is left behind: the next iteration begins at the last one watched without an alarm.

    `turns`: t → another recipe, which holds from M_t on, in a run that was branched from another.
    """
    selector = load_selector(recipe, seed, cast, run[SEED])
    if recipe.measure.base:
        measurer.measure(run[M0], cast.base)
    if recipe.sft.baseline:
        baseline = run[SFT].train_sft(seed.examples("ift"), cast.base, recipe.sft, recipe.seed)
        measurer.measure(run[SFT], baseline)
        if recipe.makes_eft:
            seed = make_eft(seed, recipe, baseline, run[SEED])
    model = cast.base
    if recipe.sft.on != "none":
        model = run[M1].train_sft(seed.examples(recipe.sft.on), cast.base, recipe.sft, recipe.seed)
    model = cast.join(M1, model)
    verdict = watcher.watch(run[M1], model, measurer.measure(run[M1], model))
    # Nothing that is validated on may be learnt from: new prompts that repeat one are dropped as held out.
    apart = [*(selector.prompts if selector else []), *watcher.prompts]
    guarded = seed._replace(heldout_prompts=[*seed.heldout_prompts, *apart])
    written: list[Prompt] = []
    preferences: list[Contrast] = []
    good = model, preferences
    for t in range(2, recipe.iterations + 2):
        if verdict == "stop":
            break
        if t in turns:
            recipe = turns[t]
            selector = load_selector(recipe, seed, cast, run[SEED])
            measurer.follow(recipe)
            watcher.follow(recipe)
        iteration, texts = iterate(t, model, recipe, guarded, written, run[f"M{t}"], cast)
        written += iteration.prompts
        preferences = preferences + texts if recipe.pairs.accumulate else texts
        dpo = trusted(recipe, iteration, run[f"M{t}"], model, cast)
        rehearsed = seed.examples("eft") if dpo.rehearse else ()
        trained = run[f"M{t}"].train_dpo(preferences, model, model, dpo, recipe.seed, selector, rehearsed=rehearsed)
        model = cast.join(f"M{t}", trained)
        if recipe.measures(t):
            verdict = watcher.watch(run[f"M{t}"], model, measurer.measure(run[f"M{t}"], model, iteration), iteration)
            if verdict == "back":
                measurer.leave(model.name)
                model, preferences = good
                cast.go_back(model.name)
            good = model, preferences
    return model


def iterate(
    t: int, model: Checkpoint, recipe: Recipe, seed: Seed, written: list[Prompt], it: ModelFolder, cast: Cast
) -> tuple[Iteration, list[Contrast]]:
    """Make the preference pairs for M_t with the model before it: prompts → responses → judgments → pairs."""
    config, answering = recipe.prompts, recipe.responses
    proposals: list[Proposal] = []
    if config.source:
        prompts = it.keep(PROMPTS, take_prompts(config, t, seed.heldout, recipe.judge.checks == "anchor"))
    else:
        writer = cast.writer(config, model)
        requests = plan_prompts(seed.prompts, written, config, writer, recipe.seed, t)
        proposals = list(it.complete(PROPOSED, requests, writer, read_proposal))
        prompts = it.keep(PROMPTS, choose_prompts(proposals, seed.prompts, written, seed.heldout, config))
    responses = it.ask(RESPONSES, Answering(answering.sampling, answering.n, answering.frame), prompts, by=model)
    judged = judge_candidates(it, prompts, responses, recipe, model, cast)
    chosen, responses, judged = pick_pairs(it, prompts, responses, judged, recipe, model, cast)
    pairs = it.keep(PAIRS, without_doubt(chosen, responses, judged, recipe))
    iteration = Iteration(len(proposals), prompts, responses, judged.judgments, pairs, **judged.beside)
    require_pairs(iteration, it, recipe)
    texts = contrasts(pairs, prompts, responses, answering.frame)
    return iteration, [*texts, *teach_judge(it, iteration, recipe, seed.eft, model)]
