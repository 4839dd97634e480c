#!/usr/bin/env bash
# if-verifiable 0.1.2 (IFEval's own checks, as lm_eval 0.4.13 has them too), nltk 3.10.4, langdetect 1.0.9, immutabledict 4.3.1.
# Two of IFEval's 541 published prompts, keys 1122 and 1129, ask for a mark so many times: "#" at least 4 times, "!" at least 6 times. The check takes letters
# from a to z alone. It does not refuse another mark: it draws a letter by chance in its place, and counts that. An answer that does
# as it is asked passes on some runs and fails on others, and so does one without a single mark; two scores of the same answers differ.
# Guess before it was run: the mark is counted, for the prompt and its arguments are the benchmark's own; at worst it is refused.
# Seen: over 200 checks of each, "####" passes in none and a pangram without a mark in 35; the description names the drawn letter, not the mark.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile immutabledict==4.3.1 langdetect==1.0.9 nltk==3.10.4
venv/bin/pip -q install --no-compile --no-deps if-verifiable==0.1.2
venv/bin/python - <<'PY'
import random
import sys
import sysconfig
import types

package = types.ModuleType("if_verifiable")  # the checks alone: the package's own front loads benchmarks too
package.__path__ = [sysconfig.get_path("purelib") + "/if_verifiable"]
sys.modules["if_verifiable"] = package
from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT  # noqa: E402

random.seed(0)
answers = {"four marks": "####", "none": "The quick brown fox jumps over the lazy dog, and the five boxing wizards see it too."}
passed, asked = dict.fromkeys(answers, 0), set()
for _ in range(200):
    check = INSTRUCTION_DICT["keywords:letter_frequency"]("")
    asked.add(check.build_description(letter="#", let_frequency=4, let_relation="at least"))
    for name, answer in answers.items():
        passed[name] += check.check_following(answer)
print(len(asked), "descriptions, such as:", *sorted(asked)[:2], sep="\n")
print(passed)
assert passed["four marks"] == 0 < passed["none"] < 200 and len(asked) > 20, "a mark is counted now, or refused"
PY
