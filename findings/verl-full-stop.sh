#!/usr/bin/env bash
# verl 0.9.1 (without what it depends on: the graders need nothing but Python).
# The rewards that verl gives to GSM8K and DAPO answers take a full stop behind the number for a part of it. "#### 42." is wrong where
# 42 is right, and so is "The answer is 42." under method="flexible", which is there for answers without "####". "Answer: 42." is -1
# by DAPO's grader. A policy that ends sentences with full stops has no reward for right answers, and learns to leave them out.
# A right answer followed by a remark of 300 characters has none either: only the end of the text is read.
# Guess before it was run: a full stop at the end of the number is no part of it; all are right.
# Seen: strict "#### 42" 1.0, "#### 42." 0.0; flexible "The answer is 42" 1.0, "The answer is 42." 0.0; DAPO "Answer: 42" 1.0, "Answer: 42." -1.0.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-deps verl==0.9.1
venv/bin/python - <<'PY'
import runpy
import sysconfig

folder = sysconfig.get_path("purelib") + "/verl/utils/reward_score/"
gsm8k, dapo = (runpy.run_path(folder + name)["compute_score"] for name in ("gsm8k.py", "math_dapo.py"))
remark = "\nThis can also be found in another way, by counting back from the end, as the reader may try out alone. " * 3
texts = {
    "strict": ("#### 42", "#### 42.", "#### 42" + remark),
    "flexible": ("The answer is 42", "The answer is 42.", "The answer is 42" + remark),
    "dapo": ("Answer: 42", "Answer: 42.", "Answer: 42" + remark),
}
found = {name: [dapo(text, "42")["score"] if name == "dapo" else gsm8k(text, "42", method=name) for text in asked] for name, asked in texts.items()}
print("plain, with a full stop, with a remark:", found)
assert found == {"strict": [1.0, 0.0, 0.0], "flexible": [1.0, 0.0, 0.0], "dapo": [1.0, -1.0, -1.0]}, "they are graded otherwise now"
PY
