"""Scores that a judge speaks of and does not give: supposed or denied ones, points of the rubric, quotations."""

from __future__ import annotations

import re

from selfreward.steps.verdict_words import AROUND, LINE_END, SPACE, UNITS, any_of

_SENTENCE = rf"(?:\A|{LINE_END}|[.!?;。！？]{SPACE})[\W_]*+"
_WITHIN = r"[^.!?;。！？\n]"
"""A character of the same sentence."""
_OBTAIN = any_of(
    "get reach achieve earn receive deserve merit obtain attain have be become warrant justify gain gets? reached achieved earned"
    " received deserved merited obtained attained been gained"
)
_GIVE = any_of("give gives giving given assign assigned award awarded grant rate worth quite yet really full such as of it this")
_A = any_of("a an the its full perfect top higher better maximum einen den eine une un una")
_BEFORE = rf"(?:(?:{_A}|it|this|him|her|them){SPACE}++)*+[*_(\"'“]*+\Z"
_NOT = any_of(
    "not cannot n['’]t never rather_than instead_of better_than worse_than higher_than lower_than nicht statt pas au_lieu_de не"
    " вместо en_lugar_de invece_di em_vez_de"
)
_ALMOST = any_of(
    "close_to short_of near nearly almost aim_for aiming_for considered considering tempted_to_\\w+ hesitated?_to_\\w+"
    " reluctant_to_\\w+ fast presque casi quase quasi почти"
)
_MADE_TO = (
    rf"(?:ma[dk]e|making|forc|ask|want|tell|told|instruct|trick|urg|beg)[^\W\d_]*+{SPACE}++(?:me|us|you|judges?|the{SPACE}++[^\W\d_]++){SPACE}++"
    rf"(?:(?:to|into){SPACE}++)?(?:give|giving|write|writing|output|say|assign|award|for)"
)
SUPPOSED = re.compile(
    rf"{_SENTENCE}(?:(?:in{SPACE}++order|so{SPACE}++as){SPACE}++)?to{SPACE}++{_OBTAIN}{SPACE}++{_BEFORE}"
    rf"|{_SENTENCE}(?:for|um|für)(?:{SPACE}++(?:an?|einen?))?{SPACE}++\Z"
    rf"|{_SENTENCE}(?:pour|para|per|чтобы){SPACE}++(?:[^\W\d_]++{SPACE}++){{0,2}}+\Z"
    rf"|(?<![^\W\d_])(?:needs?|needed|required|necessary|lacks?|fails?|failed|unable|too|not|n['’]t){SPACE}(?:(?![,:])"
    rf"{_WITHIN}){{0,60}}\bto{SPACE}++{_OBTAIN}{SPACE}++{_BEFORE}"
    rf"|(?<![^\W\d_])(?<!can)(?:{_NOT}|(?<=n['’]t)){SPACE}++(?:(?:{_GIVE}|{_OBTAIN}|{_A}){SPACE}++)*+[*_(\"'“]*+\Z"
    rf"|(?<=n['’]t){SPACE}++(?:(?:{_GIVE}|{_OBTAIN}|{_A}){SPACE}++)*+[*_(\"'“]*+\Z"
    rf"|\b(?:would|could|might|should)(?:n['’]t|{SPACE}++not)?{SPACE}++(?:[^\W\d_]++{SPACE}++)?have(?!{SPACE}++to\b){SPACE}++"
    rf"(?:(?:{_GIVE}|{_OBTAIN}){SPACE}++)*+{_BEFORE}"
    rf"|\b(?:{_ALMOST}|{_MADE_TO}){SPACE}++{_BEFORE}"
    rf"|\b(?:perfect|ideal|flawless|better|stronger){SPACE}++[^\W\d_]++{SPACE}++would{SPACE}{_WITHIN}*\Z"
    rf"|{_SENTENCE}if{SPACE}++(?!(?:i|we|one){SPACE}){_WITHIN}*?\b(?:had|were|would|could){SPACE}{_WITHIN}*\Z",
    re.IGNORECASE,
)
"""The end of a line's beginning: words after which a score is one that was not given."""
MODAL = re.compile(rf"\b(?:would|could|might|['’]d)(?![^\W\d_]){_WITHIN}*\Z", re.IGNORECASE)
_BEHIND = rf"(?:{AROUND}[/∕／]{AROUND}\d++)?(?:{AROUND}{UNITS}(?![^\W\d_]))?"
CONDITION = re.compile(
    rf"{_BEHIND}{AROUND},?{AROUND}(?:(?:but{SPACE}++)?only{SPACE}++if|if(?!{SPACE}++(?:i|we|one|asked|pressed|forced)\b)|had|were|unless|provided|with{SPACE}++(?:more|better|fewer))"
    rf"(?![^\W\d_])(?!{SPACE}++anything)",
    re.IGNORECASE,
)
"""The beginning of a condition behind a score that would be given."""
_SEEMS = any_of("is was would_be seems would_seem isn['’]t wouldn['’]t_be")
ASKS = re.compile(
    rf"{_BEHIND}{SPACE}++(?:requires?|needs?(?!{SPACE}++(?:improvement|work)\b)|demands?|calls?{SPACE}++for"
    rf"|would(?!{SPACE}++(?:be|seem|feel|appear|do|suit|fit|reflect|mean)(?![^\W\d_]))"
    rf"|{_SEEMS}{SPACE}++(?:far{SPACE}++|much{SPACE}++|a{SPACE}++bit{SPACE}++)?(?:too|unwarranted|undeserved|impossible|possible"
    rf"|out{SPACE}++of{SPACE}++reach|not{SPACE}++(?:justified|warranted|deserved|merited|possible|appropriate|right|fair)))(?![^\W\d_])",
    re.IGNORECASE,
)
"""Words behind a score that say what it would take, or that it is not the one."""
LEGEND = re.compile(
    rf"{_BEHIND}(?:{SPACE}*+[=＝]{SPACE}*+(?=[^\W\d_])|{SPACE}++(?:means|stands{SPACE}++for|bedeutet|heißt|signifie|significa"
    rf"|would{SPACE}++mean|is{SPACE}++(?:for|reserved|given{SPACE}++to|when|if))(?![^\W\d_]))",
    re.IGNORECASE,
)
"""Words behind a score that say what it stands for in the rubric."""
IN_BRACKETS = re.compile(
    r"[(（](?![^()（）]*\b(?:final|overall|total|new|revised|actual)\b)[^()（）]*[^\W\d_][^()（）]*\Z", re.IGNORECASE
)
"""The beginning of a line with words in a bracket that is open."""
QUOTATION = "a quotation"
BLOCK_QUOTE = re.compile(rf"(?:\A|{LINE_END}){SPACE}*+>[^\n]*\Z")
"""The beginning of a line in a block quote."""
QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "„": "“", "`": "`"}


def is_supposed(text: str, line: str, end: int) -> bool:
    """True if the score that ends in `end`, with `line` before it, is one that its judge only speaks of."""
    conditional = MODAL.search(line) and CONDITION.match(text, end)
    return bool(SUPPOSED.search(line) or conditional or ASKS.match(text, end))


def spoken_of(text: str, line: str, start: int, end: int) -> str:
    """The kind of mention that a score is: a quotation or an aside, or a point of the rubric; empty where it is neither."""
    if BLOCK_QUOTE.search(line) or IN_BRACKETS.search(line) or QUOTES.get(text[start - 1 : start], "no") == text[end : end + 1]:
        return QUOTATION
    return f"legend of {text[start:end]}" if LEGEND.match(text, end) else ""
