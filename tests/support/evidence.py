"""What is known of a model, put together by hand. For the tests of monitors."""

from types import SimpleNamespace

from selfreward.measure.monitors.base import Evidence
from selfreward.recipe import Recipe
from selfreward.records import Iteration, Judgment, Pair, Prompt, Response


def recipe(**drift):
    """The defaults, watched; 200 resamples."""
    return Recipe.model_validate({"base": "b", "data": {"ift": "i.jsonl"}, "measure": {"bootstrap": 200}, "drift": drift})


def answer(prompt_id, text, model="m2", index=0, finish="stop"):
    return Response(prompt_id=prompt_id, model=model, index=index, text=text, finish=finish)


def judged(response, *scores, judge="m2"):
    """One judgment for each score; None is one that could not be read."""
    return [
        Judgment(response_id=response.id, judge=judge, sample=n, rationale="", outcome=outcome, score=score)
        for n, score in enumerate(scores)
        for outcome in (("unparsed" if score is None else "scored"),)
    ]


def made(*groups, prompts=()):
    """The iteration behind a model: for each prompt its (text, score) candidates, best against worst where they differ."""
    responses, judgments, pairs = [], [], []
    for number, group in enumerate(groups):
        scored = [(score, answer(f"q{number}", text, "m1", index)) for index, (text, score) in enumerate(group)]
        responses += [response for _, response in scored]
        judgments += [judgment for score, response in scored for judgment in judged(response, score, judge="m1")]
        ranked = sorted((one for one in scored if one[0] is not None), key=lambda one: one[0])
        if len(ranked) > 1 and ranked[0][0] < ranked[-1][0]:
            (low, worst), (high, best) = ranked[0], ranked[-1]
            ids = {"prompt_id": f"q{number}", "chosen_id": best.id, "rejected_id": worst.id}
            pairs.append(Pair(**ids, chosen_score=high, rejected_score=low))
    return Iteration(0, [Prompt(text=text, source="self") for text in prompts], responses, judgments, pairs)


def evidence(**known):
    """Of M2, nothing but what is given."""
    nothing = dict.fromkeys(("prompts", "answers", "judgments", "rankings", "ranking_judgments"), ())
    given = {"name": "M2", "recipe": recipe(), "measured": SimpleNamespace(reward_modeling=None, loop=None), **nothing}
    return Evidence(**(given | known))


def values(figures):
    """Name → value, None where there was nothing to read."""
    return {name: figure and figure.value for name, figure in figures.items()}
