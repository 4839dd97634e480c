#!/usr/bin/env bash
# if-verifiable 0.1.2 (IFEval's own checks, as lm_eval 0.4.13 has them too), nltk 3.10.4, langdetect 1.0.9, immutabledict 4.3.1.
# "Your answer must contain exactly 2 bullet points" is checked by counting lines that begin with "*" or "-". A horizontal rule, "---", is
# such a line, and so is a line that begins with a negative number or a dash of speech; the count must be met exactly. An answer with two bullets
# and a rule above or below them, as chat models like to write, has failed, and one bullet with a rule has passed. As a reward
# it teaches to leave out rules and minus signs; as a benchmark it calls a right answer wrong.
# Guess before it was run: a rule is no bullet point; two bullets are two with it or without.
# Seen: two bullets True, and a rule False, and a line "-5 degrees" False; one bullet and a rule True.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile immutabledict==4.3.1 langdetect==1.0.9 nltk==3.10.4
venv/bin/pip -q install --no-compile --no-deps if-verifiable==0.1.2
venv/bin/python - <<'PY'
import sys
import sysconfig
import types

package = types.ModuleType("if_verifiable")  # the checks alone: the package's own front loads benchmarks too
package.__path__ = [sysconfig.get_path("purelib") + "/if_verifiable"]
sys.modules["if_verifiable"] = package
from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT  # noqa: E402

check = INSTRUCTION_DICT["detectable_format:number_bullet_lists"]("")
print(check.build_description(num_bullets=2))
answers = {
    "two bullets": "Here are two:\n\n* tea\n* coffee",
    "and a rule": "Here are two:\n\n* tea\n* coffee\n\n---\n\nDone.",
    "and a temperature": "* tea\n* coffee\n-5 degrees is too cold.",
    "one bullet and a rule": "* tea\n\n---\n\nThat is all.",
}
found = {name: check.check_following(answer) for name, answer in answers.items()}
print(found)
assert list(found.values()) == [True, False, False, True], "rules are told from bullets now"
PY
