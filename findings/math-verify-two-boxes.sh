#!/usr/bin/env bash
# math-verify 0.9.0 with its antlr4_13_2 extra, latex2sympy2_extended 1.11.0, sympy 1.14.0 (the grader of many math rewards).
# Of an answer with two boxes neither the last counts nor the first: where they stand near each other both are taken for one answer, the set of
# what is in them. An answer that boxes a slip, says so and boxes the right number fails against the right number, and
# passes against nothing but the set; extraction_mode="first_match" and boxed_match_priority=0 change nothing. With fifty words between
# the boxes the last one counts. So a reward punishes the model that mends itself quickly, where other graders read its last box.
# Guess before it was run: the last box counts, as in the graders of MATH.
# Seen: near [{1, 2}], against 2 False, against 1 False, against the set True; the same with fifty words between: [2], True.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install 'math-verify[antlr4_13_2]==0.9.0' latex2sympy2_extended==1.11.0 sympy==1.14.0
venv/bin/python - <<'PY'
from math_verify import LatexExtractionConfig, parse, verify

near = "So it is \\boxed{1}.\n\nWait, that is wrong. Let me redo it.\n\n\\boxed{2}"
far = near.replace("redo it.", "redo it. " + "word " * 50)
found = {name: [verify(parse(gold), parse(text)) for gold in ("$2$", "$1$", r"$\{1, 2\}$")] for name, text in (("near", near), ("far", far))}
print("near", parse(near)[:1], "far", parse(far)[:1], "against 2, 1 and the set:", found)
others = [parse(near, extraction_mode="first_match"), parse(near, extraction_config=[LatexExtractionConfig(boxed_match_priority=0)])]
print("read otherwise:", others)
assert found["near"] == [False, False, True], "two boxes near each other are read otherwise now"
assert all(other[0] == parse(near)[0] for other in others)
assert found["far"] == [True, False, False]
PY
