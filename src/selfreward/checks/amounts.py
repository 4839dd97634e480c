"""The seed of a run in records and tokens, from which its cost is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from selfreward.recipe import Recipe
from selfreward.records import Anchor, Example, Prompt, Ranking, quoted, read_jsonl
from selfreward.steps import HEADER, Grader, PairwiseJudge, Seed, load_meta_rubric

R = TypeVar("R", Example, Prompt, Ranking)
Count = Callable[[Iterable[str]], list[int]]
"""Tokens of each of some texts."""
LETTERS = 4
"""Letters of English that make a token, for when no tokenizer is at hand."""
PROMPTS = ("word " * 30, "word " * 300)
ANSWERS = ("word " * 150, "word " * 900)
"""A usual and a long one, where the seed cannot be read."""
SEAMS = 4
"""Tokens more that texts may have put together than apart."""


class Span(NamedTuple):
    """An amount that is not known beforehand."""

    likely: float
    most: float

    def plus(self, *others: Span | int) -> Span:
        """The sum of amounts."""
        spans = [other if isinstance(other, Span) else Span(other, other) for other in others]
        return Span(self.likely + sum(span.likely for span in spans), self.most + sum(span.most for span in spans))

    def times(self, number: float) -> Span:
        """A multiple of the amount."""
        return Span(self.likely * number, self.most * number)


class Material(NamedTuple):
    """The seed of a run: numbers of records, and tokens by the base's tokenizer."""

    ift: int
    eft: int
    """Most EFT examples that can be made from ranks."""
    to_rank: int
    """Responses from whose ranks EFT is made; 0 where it comes ready made."""
    heldout: int
    """Prompts held out."""
    ranked: int
    """Ranked responses held out."""
    validation: int
    """Prompts by which checkpoints are selected."""
    anchors: int
    """Prompts with known answers that monitors ask."""
    judged: float
    """Share of an iteration's prompts that a judge is asked about; programs score the others."""
    prompt: Span
    """The words of a prompt."""
    answer: Span
    """The words of an answer to one."""
    ranked_pair: Span
    """The words of a ranked prompt and one of its responses."""
    anchor: Span
    """The words of an anchor's prompt."""
    example: Span
    """An IFT example: a prompt and an answer."""
    graded: Span
    """An EFT example: a judge's prompt and a judgment."""
    shots: Span
    """A request for a new prompt."""
    turn: int
    """Tokens that the chat template puts around a prompt and an answer."""
    rubric: int
    """A judge's prompt around what it is filled with."""
    pairwise: int
    """Tokens of a pairwise rubric with its turn."""
    meta: int
    """Tokens of the meta-judge's rubric with its turn; of the turn alone where there is none."""


def weigh(
    seed: Seed, validation: Sequence[Prompt], recipe: Recipe, count: Count, turn: int, anchors: Sequence[Anchor] = ()
) -> Material:
    """`seed` in records and tokens, and the `anchors` that are asked.

    `validation`: prompts by which checkpoints are selected. `turn`: what the chat template puts around a prompt and an answer.
    """
    ift, frame = seed.examples("ift"), recipe.responses.frame
    grader, pairwise = Grader(recipe.judge), PairwiseJudge(recipe.pairwise)
    first = count(example.prompt for example in seed.ift if example.stands_alone) or [0]
    prompts, answered = count(quoted(prompt) for prompt, _ in ift), count(answer for _, answer in ift)
    measured = count(quoted(frame(prompt.asked)) for prompt in (*seed.heldout_prompts, *validation))
    to_rank, ranked = _ranked(seed.rankings, count) or _made_ranked(seed, recipe, count), _ranked(seed.heldout_rankings, count)
    graded = _together(count, ((example.prompt, example.response) for example in seed.eft))
    in_rubrics = (quoted(recipe.judge.frame(grader.fill("", ""))), pairwise.rubric.fill(prompt="", first="", second=""))
    rubric, of_pairs, meta, header = count([*in_rubrics, _meta_rubric(recipe), HEADER])
    rubric += turn + SEAMS
    judged = _span([*to_rank, *ranked] or [0]).plus(rubric, recipe.judge.max_tokens)
    return Material(
        ift=len(ift), eft=len(to_rank) or len(seed.eft), to_rank=len(to_rank), heldout=len(seed.heldout_prompts),
        ranked=len(ranked), validation=len(validation), anchors=len(anchors), judged=_judged(recipe),
        anchor=_span(count(quoted(frame(anchor.asked)) for anchor in anchors) or [0]),
        prompt=_span([*prompts, *measured]), answer=_span(answered),
        example=_span([ours + theirs + turn for ours, theirs in zip(prompts, answered, strict=True)]),
        ranked_pair=_span([*to_rank, *ranked] or [0]), graded=judged if to_rank or not graded else _span(graded).plus(turn),
        shots=_shots(first, recipe, header + turn), turn=turn, rubric=rubric,
        pairwise=of_pairs + turn + SEAMS, meta=meta + turn + SEAMS,
    )  # fmt: skip


def _judged(recipe: Recipe) -> float:
    source = recipe.prompts.source if recipe.judge.checks == "score" else None
    own = read_jsonl(Path(source), Prompt)[: recipe.prompts.per_iteration * recipe.iterations] if source else []
    return sum(not prompt.checks for prompt in own) / len(own) if own else 1.0


def _meta_rubric(recipe: Recipe) -> str:
    return load_meta_rubric(recipe.judge_pairs).fill(task="", first="", second="") if recipe.judge_pairs else ""


def _made_ranked(seed: Seed, recipe: Recipe, count: Count) -> list[int]:
    """Like `_ranked`, for the rankings of two that the SFT baseline is to make; none where people give rankings."""
    if not (recipe.makes_eft and recipe.eft.by == "self"):
        return []
    alone = [example for example in seed.ift if example.stands_alone][: recipe.eft.prompts]
    return _together(count, ((example.prompt, example.response) for example in alone for _ in range(2)))


def _ranked(rankings: Iterable[Ranking], count: Count) -> list[int]:
    return _together(count, ((quoted(ranking.asked), text) for ranking in rankings for text in ranking.responses))


def _together(count: Count, pairs: Iterable[tuple[str, str]]) -> list[int]:
    """The tokens of both texts of each pair."""
    both = list(pairs)
    return [ours + theirs for ours, theirs in zip(count(a for a, _ in both), count(b for _, b in both), strict=True)]


def _shots(lengths: Sequence[int], recipe: Recipe, header: int) -> Span:
    """A request for a prompt: the longest has the longest prompts of the seed for all its shots, or own ones at their limit."""
    config, longest = recipe.prompts, sorted(lengths, reverse=True)
    number = 3  # "9. "
    number_of_shots = config.shots_seed + config.shots_self
    most = max(sum(longest[:number_of_shots]), sum(longest[: config.shots_seed]) + config.shots_self * config.max_tokens)
    return Span(number_of_shots * (sum(lengths) / len(lengths) + number), most + number_of_shots * number).plus(header)


def _span(tokens: Sequence[int]) -> Span:
    return Span(sum(tokens) / len(tokens), max(tokens))


def stand_in(recipe: Recipe) -> Seed:
    """For a seed that cannot be read: as many records as the paper has, within the recipe's limits, in texts of usual length.

    The paper's 2,171 ranked responses (section 3.1) are some 760 sets of three. Lengths are about those of Open Assistant's
    first turns: answers have 150 words on average and 900 at most, prompts 30 and 300.
    """
    data = recipe.data
    ranked = [Ranking(prompt=PROMPTS[long], responses=(ANSWERS[long],) * 3, ranks=(0, 1, 2)) for long in (False, True)]
    sets = (data.rankings.limit if data.rankings else None) or 760
    apart = round(sets * recipe.eft.heldout)
    ift = [Example(prompt=PROMPTS[long], response=ANSWERS[long], kind="ift", source="assumed") for long in (False, True)]
    return Seed(
        ift=_many(ift, data.ift.limit or 3200),
        eft=[] if data.rankings else _many([example.model_copy(update={"kind": "eft"}) for example in ift], 1630),
        heldout_prompts=usual_prompts(data.heldout),
        heldout_rankings=_many(ranked, apart),
        rankings=_many(ranked, sets - apart) if data.rankings else [],
    )


def usual_prompts(number: int) -> list[Prompt]:
    """`count` prompts of usual length."""
    return _many([Prompt(text=text, source="seed") for text in PROMPTS], number)


def _many(both: Sequence[R], number: int) -> list[R]:
    """`count` texts: one long one, the others usual."""
    made = [both[1]]
    made += [both[0]] * (number - 1)
    return made[:number]
