#!/usr/bin/env bash
# rewardbench 0.1.4 (its readers of generative judges; the clients of servers that the files name are not needed).
# A judge of RewardBench explains and ends with [[A]] or [[B]], as it is told. The reader takes A if [[A]] stands anywhere, then B, and for
# version 2 so on to D: what counts is the alphabet and not the end. A judge that thinks aloud ("[[A]] at first sight ... [[B]]"), that
# restates the form it was asked for, or that corrects itself is read as A whatever it decides. With A and B in random order right
# answers become a coin's toss, and only for judges that name both, so that reasoning judges lose accuracy to terse ones.
# Guess before it was run: the last verdict counts, or a text with two is an error, as a text with none is.
# Seen: "[[A]] ... [[B]]" A, "[[B]] ... [[A]]" A, "[[B]]" B, none: error; of four "[[D]] ... [[C]]" C, "[[B]] ... [[C]]" B.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile --no-deps rewardbench==0.1.4
venv/bin/python - <<'PY'
import runpy
import sys
import sysconfig
from unittest.mock import MagicMock

clients = "anthropic google google.generativeai google.generativeai.types openai fastchat fastchat.conversation together litellm"
sys.modules.update({name: MagicMock() for name in clients.split()})  # who is asked does not matter to how an answer is read
folder = sysconfig.get_path("purelib") + "/rewardbench/"
two, four = (runpy.run_path(folder + name)["process_judgement"] for name in ("generative.py", "generative_v2.py"))
texts = {
    "first A": "At first sight [[A]] reads better. But its sum is wrong, and the other's is right. My final verdict: [[B]]",
    "form": "I am to answer [[A]] or [[B]]. The second assistant is right. [[B]]",
    "first B": "At first sight [[B]] reads better. But its sum is wrong. My final verdict: [[A]]",
    "terse": "[[B]]",
    "none": "Both are fine.",
}
found = {name: two(text, None) for name, text in texts.items()}
best = [four(text, None) for text in ("[[D]] is long, and [[C]] is right. [[C]]", "[[B]] is short, but it is wrong. So I take [[C]]", "[[C]]")]
print(found, best)
assert (found["terse"], found["none"], best[2]) == ("B", "error", "C")
assert [found[name] for name in ("first A", "form", "first B")] == ["A", "A", "A"], "two verdicts are read otherwise now"
assert best[:2] == ["C", "B"], "several verdicts of four are read otherwise now"
PY
