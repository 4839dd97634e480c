#!/usr/bin/env bash
# math-verify 0.9.0 with its antlr4_13_2 extra, latex2sympy2_extended 1.11.0, sympy 1.14.0 (the grader of many math rewards).
# Numbers as physics and programs write them are graded wrong both ways, and nothing is raised.
# - 3e8 in a text is 3; in a box or between dollars it is three times Euler's number times 8, and 2.5e-3 is 2.5 times Euler's less 3. So
#   "The answer is 3e8." is right where the gold answer is 3, and wrong where it is 300000000.
# - The numeric precision of 15 (numeric_precision: "decimal places", as its docstring has it) counts from the point and not
#   from the first digit: 1.6e-19 written with \times equals 6.6e-34, and -1.6e-20. Only 60 or so tells them apart; float_rounding does not.
# Guess before it was run: 3e8 is 300000000, and 15 digits of precision tell the charge of the electron from Planck's constant.
# Seen: [3], [3*E*8], [2.5*E - 3]; True, False; True, True, and False with numeric_precision=60.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install 'math-verify[antlr4_13_2]==0.9.0' latex2sympy2_extended==1.11.0 sympy==1.14.0
venv/bin/python - <<'PY'
from math_verify import parse, verify

for text in ("The answer is 3e8.", r"\boxed{3e8}", r"\boxed{2.5e-3}"):
    print(text, "is read as", parse(text)[0])
taken = {gold: verify(parse(f"${gold}$"), parse("The answer is 3e8.")) for gold in ("3", "300000000")}
print("3e8 against", taken)
electron = parse(r"$1.6\times10^{-19}$")
others = [parse(r"$6.6\times10^{-34}$"), parse(r"$-1.6\times10^{-20}$")]
alike = [verify(electron, other) for other in others]
rounded = [verify(electron, other, float_rounding=40) for other in others]
precise = [verify(electron, other, numeric_precision=60) for other in others]
print("1.6e-19 against 6.6e-34 and -1.6e-20:", alike, "float_rounding=40:", rounded, "numeric_precision=60:", precise)
assert parse("The answer is 3e8.")[0] == 3 and taken == {"3": True, "300000000": False}, "3e8 is read otherwise now"
assert alike == rounded == [True, True] and precise == [False, False], "small numbers are told apart otherwise now"
assert verify(parse("$2$"), parse(r"\boxed{2}")) and not verify(parse("$2$"), parse(r"\boxed{3}"))
PY
