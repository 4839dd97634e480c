"""Words before a score: the criterion that it is about, also as a heading; the whole, an end of the scale, or reasons."""

from __future__ import annotations

import re

from selfreward.steps.verdict_words import LINE_END, SPACE, any_of

_ITEM = rf"(?:\A|{LINE_END})(?:{SPACE}|[-*#>•|]|\d++[.)])*+"
_PART_OF_NAME = r"[^\W_'’-]*+(?:[-'’][^\W_]++)*+"
NAMED = re.compile(
    rf"{_ITEM}((?:[^\W\d_]{_PART_OF_NAME}(?:{SPACE}*+[&/]{SPACE}*+|{SPACE}++)){{1,3}})[*_`\"]*+\Z|(?<![^\W_])([A-Za-zÀ-ɏ]++)-?\Z"
)
"""The end of a line's beginning: the words that say which score follows, or the first part of its own (`Subscore`)."""
LISTED_NAME = re.compile(
    rf"{_ITEM}((?:[^\W_]{_PART_OF_NAME}(?:{SPACE}*+[:&/,]{SPACE}*+|{SPACE}++)){{0,4}}[^\W_]{_PART_OF_NAME})"
    rf"(?:{SPACE}|[*_`\"])*+[:：(（\[|–—-](?:{SPACE}|[*_`\"(])*+\Z"
)
"""The end of a line's beginning: a name and a colon, a dash, a bracket or the end of a cell before the score."""
_BEGINS_HEADING = rf"(?:(?:\A|{LINE_END}){SPACE}*+)"
_HEADING = rf"((?:[^\W_]{_PART_OF_NAME}(?:{SPACE}*+[:&/,.)–—-]{SPACE}*+|{SPACE}++)){{0,5}}[^\W_]{_PART_OF_NAME})"
HEADING = re.compile(
    rf"{_BEGINS_HEADING}(?:#{{1,6}}{SPACE}*+\**+|(?:\d++[.)]{SPACE}++)?(?:\*\*|__)){_HEADING}(?:{SPACE}|[:*_#])*+(?={LINE_END}|\Z)"
    rf"|{_BEGINS_HEADING}(?:\d++[.)]|[-*•])?{SPACE}*+{_HEADING}{SPACE}*+:?{SPACE}*+(?:{LINE_END}[-=]{{3,}}+)?\s*+\Z"
)
"""A line that is a heading, by its signs or in bold, or the few words directly above a score."""
_SMALL = "(?:and|or|but|as|with|of|for|to|in)"
OVERALL = re.compile(
    rf"(?<![\w'’-])(?:a|an|the|my|our|your|his|her|its|this|that|final|overall|total|so|thus|hence|therefore|i|we|would|will"
    rf"|gives?|assign|award|deserves|gets|is|are|sum|average|mean|aggregate|combined|cumulative|weighted|holistic"
    rf"|resulting|new|updated|revised|adjusted|corrected|actual|true|given|assigned|awarded|suggested|proposed|recommended|end|last"
    rf"|(?:response|answer|judge|assistant|model)(?:['’]s)?|{_SMALL}(?=\s*+\Z)"
    r"|conclusion|verdict|judge?ment|evaluation|assessment|result|wait|correction|actually|gesamt\w*+|insgesamt|endgültig\w*+|eind"
    rf"|finale|globale?|générale|totale|totaal|puntuación|nota|note|итог\w*+|общ\w*+)(?![\w'’-])|\A{_SMALL}(?![\w'’-])",
    re.IGNORECASE,
)
"""A word that names the whole score, not one of several criteria; `and` in the middle of a name (`Form and use`) does not."""
SECTION = re.compile(
    r"(?<![\w'’-])(?:scor(?:e|ing)|rating|grad(?:e|ing)|points|step|analysis|review|reasoning|feedback|summary|explanation|justification"
    r"|reflection|reconsider\w*+|re-?evaluat\w*+|second (?:look|thoughts?)|answer|response|task|criteria|rubric)(?![\w'’-])",
    re.IGNORECASE,
)
"""A word that heads a part of a judgment, and names no criterion."""
_REASONS = any_of(
    "begründung erklärung erläuterung justification explication raisons? justificación explicación razón justificativa"
    " explicação razão"
    " обоснование объяснение пояснение alasan penjelasan giustificazione spiegazione motivazione motivering uitleg"
    " uzasadnienie gerekçe"
)
_REASONS_IN_ENGLISH = any_of(
    "justifications? reasons? reasoning rationale explanations? breakdown basis comments? notes? details factors criteria summary"
)
_ARTICLES = any_of(
    "for of behind about on to the this that my our your its given final overall total für den das die der des diesen zum del"
    " de la el du le ce ces para por esta este da do deste della dello dell['’]? per il lo questo voor deze dla untuk для этой"
)
EXPLAINS = re.compile(
    rf"(?<![^\W\d_])(?:{_REASONS}|{_REASONS_IN_ENGLISH}(?={SPACE}++{_ARTICLES}{SPACE}))(?:{SPACE}++{_ARTICLES}){{0,4}}+"
    rf"(?:{SPACE}|[*_`\"])*+\Z"
    rf"|(?:\A|{LINE_END})[\W_]*+(?:why|how)(?:{SPACE}++[^\W\d_]++){{0,6}}+[\W_]*+\Z",
    re.IGNORECASE,
)
"""The end of a line's beginning: words after which reasons for a score follow, and not the score."""
BOUNDS = re.compile(
    rf"(?<![^\W\d_])(?:max(?:imum|imal(?:er|e)?|\.)?|min(?:imum|imal(?:er|e)?|\.)?|(?:highest|lowest|best|worst|total){SPACE}++possible"
    rf"|possible|perfect|passing|highest|lowest|old|earlier|previous|former|höchste[rs]?|maksimal|максимальный){SPACE}++(?:possible{SPACE}++)?[*_`\"]*+\Z",
    re.IGNORECASE,
)
"""The end of a line's beginning: words that name an end of the scale, or an earlier score."""
