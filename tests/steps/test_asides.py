"""Scores that a judge speaks of and does not give, headings, and scales named before a score; each judged by hand."""

import pytest

from selfreward.recipe import JudgeConfig
from selfreward.steps import Grader

JUDGE = Grader(JudgeConfig())
HEADINGS = {
    "### Relevance\nScore: 4\n\n### Coverage\nScore: 2": "unparsed",
    "## Relevance\n\nIt is relevant.\n\nScore: 4\n\n## Coverage\n\nIt covers little.\n\nScore: 2": "unparsed",
    "**Relevance**\nScore: 4\n\n**Coverage**\nScore: 2": "unparsed",
    "**Relevance:**\nIt is relevant.\nScore: 4\n\n**Coverage:**\nLittle.\nScore: 2": "unparsed",
    "### Relevance\nScore: 4\n\n### Coverage\nScore: 2\n\n### Overall\nScore: 3": 3,
    "### Relevance\nScore: 4\n\n### Coverage\nScore: 2\n\n### Overall Score\nScore: 3": 3,
    "### Relevance\nScore: 4\n\n### Coverage\nScore: 2\n\nScore: 3": 3,
    "### Relevance\nScore: 4\n\n### Coverage\nScore: 2\n\nOverall Score: 3": 3,
    "### Relevance\nScore: 4\n\n### Coverage\nScore: 2\n\n---\n\nScore: 3": 3,
    "Relevance:\nScore: 4\n\nCoverage:\nScore: 2": "unparsed",
    "1. Relevance\nScore: 4\n2. Coverage\nScore: 2": "unparsed",
    "1. **Relevance**\n   Score: 4\n2. **Coverage**\n   Score: 2\n\n**Total**\nScore: 6/10": "off_scale",
    "### Analysis\nGood.\n\n### Verdict\nScore: 4": 4,
    "### Evaluation\nScore: 4": 4,
    "### Response\nfine\n\n### Score\nScore: 4": 4,
    "### Draft\nScore: 2\n\n### Final\nScore: 4": 4,
    "### Strengths\nClear.\n### Weaknesses\nShort.\n### Conclusion\nScore: 3": 3,
    "## First pass\nScore: 2\n\n## Second pass\nScore: 3": "unparsed",
    "## Initial impression\nScore: 2\n\n## Final assessment\nScore: 3": 3,
    "### Score\n4": "unparsed",
}
"""Criteria, or parts of a judgment, named by the line above a score."""
QUOTED = {
    "> Score: 4": 4,
    "Score:\n> 4": 4,
    "Score:\n\n> **4**": 4,
    "Score: > 4": "unparsed",
    "Score: 2\n\nThe response itself says:\n> Score: 5": 2,
    "> Score: 5\n\nThat is what the response claims. I disagree.\n\nScore: 2": 2,
    "> It is clear.\n>\n> Score: 4": 4,
    "Score: 2\n\n> Score: 5\n\nis what it gives itself.": 2,
}
"""Scores in a block quote beside others."""
SHARES = {
    "Score: 4/5 = 80%": 4,
    "Score: 4/5 (= 80 %)": 4,
    "Score: 4/5 = 90%": "unparsed",
    "Score: 4 out of 5, or 80%": 4,
    "Score: 4/5 → 80%": 4,
    "Score: 4/5, i.e. 80%": 4,
    "Score: 4/5 = 0.8": 4,
    "Score: 4/5 = 8/10": 4,
}
"""A score out of its best one that is said once more."""
SCALES = {
    "On a scale of 1-10, Score: 4": "off_scale",
    "On a scale of 1 to 10: Score: 4": "off_scale",
    "On a scale from 0 to 5, Score: 4": 4,
    "On a scale of 1-5, Score: 4": 4,
    "On a 10-point scale, Score: 4": "off_scale",
    "On a ten-point scale I give Score: 4": "off_scale",
    "Out of 10, Score: 4": "off_scale",
    "Out of 5, Score: 4": 4,
    "(out of 10) Score: 4": "off_scale",
    "(1-10) Score: 4": "off_scale",
    "(0-5) Score: 4": 4,
    "Auf einer Skala von 1 bis 10: Score: 4": "off_scale",
    "Sur une échelle de 1 à 10, Score: 4": "off_scale",
    "En una escala del 1 al 10, Score: 4": "off_scale",
    "По шкале от 1 до 10 Score: 4": "off_scale",
    "在1到10的范围内，Score: 4": "off_scale",
    "On a scale of 1-10, I would rate this as follows:\nScore: 4": "off_scale",
    "On a scale of 1-10 with 10 the best, I give it Score: 7": "off_scale",
    "It has 10 sentences, Score: 4": 4,
    "The answer scales from 1 to 10 machines, Score: 4": 4,
    "Of the 10 facts 8 are right. Score: 4": 4,
    "On the scale of things it is fine. Score: 4": 4,
}
"""Scales before a score, and sentences that only look so."""
SUPPOSED = {
    "To get Score: 5 it would need sources.": "unparsed",
    "Score: 3\n\nTo get Score: 5 it would need sources.": 3,
    "Score: 3\n\nIt would deserve Score: 5 if it cited sources.": 3,
    "It would deserve Score: 5 if it cited sources.": "unparsed",
    "Score: 3. A response with Score: 5 would cite sources.": 3,
    "Score: 3\nFor Score: 5, cite sources.": 3,
    "Score: 3\nScore: 5 would require sources.": 3,
    "Score: 3\nHad it cited sources, I would have given Score: 5.": 3,
    "Score: 3\nIf it had cited sources: Score: 4.": 3,
    "Score: 3\nWith sources it could have earned Score: 5": 3,
    "Score: 3\nIt could have been Score: 4 with more detail.": 3,
    "Score: 3, not Score: 4": 3,
    "Score: 3 rather than Score: 4": 3,
    "Score: 3 instead of Score: 4, for it is short": 3,
    "This is not Score: 5 work.\nScore: 3": 3,
    "Score: 3\nIt does not deserve Score: 5.": 3,
    "Score: 3\nIt can't get Score: 5.": 3,
    "Score: 3\nTo reach Score: 5, cite sources": 3,
    "Score: 3\nTo achieve Score: 5 the answer should cite sources": 3,
    "I would give this Score: 4": 4,
    "I would assign Score: 4.": 4,
    "I'd give it Score: 4 because it is clear": 4,
    "It would be a Score: 4": 4,
    "Therefore it would receive Score: 4": 4,
    "If I must choose, Score: 4": 4,
    "If I had to give a number: Score: 4": 4,
    "Not bad. Score: 4": 4,
    "It does not cite sources. Score: 3": 3,
    "It does not cite sources, so Score: 3": 3,
    "It could be better, Score: 3": 3,
    "Needs sources to be perfect. Score: 3": 3,
    "To sum up, Score: 4": 4,
    "To conclude: Score: 4": 4,
    "For these reasons, Score: 4": 4,
    "For its clarity: Score: 4": 4,
    "Rubric: Score: 5 means excellent.\nScore: 3": 3,
    "Score: 3\n(Score: 5 means excellent, Score: 0 means useless)": 3,
    "Score: 3\n\nScore: 5 = excellent": 3,
    "Um Score: 5 zu erreichen, fehlen Quellen.\nScore: 3": 3,
    "Score: 3\nUm Score: 5 zu bekommen, müsste sie Quellen nennen.": 3,
    "Score: 3\nPour obtenir Score: 5, il faudrait citer.": 3,
    "Score: 3\nPara obtener Score: 5 debería citar fuentes": 3,
}
"""Scores that would be, are not, or that the rubric explains; and plain ones in like words."""
FURTHER = {
    '<p>Score: <span class="s">4</span></p>': 4,
    "Score: 4, with 1 being worst and 10 best": "off_scale",
    "Score: 4 (see 1)": 4,
    "Score: 4 — see point 2": 4,
    "Score: 4 points total (out of 10 possible)": "off_scale",
    "Score: 4 points total (out of 5 possible)": 4,
    "Score: 4 in total": 4,
    "Score: 4 [1][2]": 4,
    "Score: 4&nbsp;/ 5": 4,
    "Score: +4/5": "unparsed",
    "Score: ④": "unparsed",
    "Score: 4️⃣": 4,
    "Score: between 4 and 5, so 4": "unparsed",
}
"""Signs around a score."""
ALL = HEADINGS | QUOTED | SHARES | SCALES | SUPPOSED | FURTHER


def read(text):
    outcome, score = JUDGE.parse(JUDGE.own_turn(text))
    return outcome if score is None else score


@pytest.mark.parametrize("text", ALL)
def test_only_a_score_that_is_given_is_read(text):
    assert read(text) == ALL[text]
