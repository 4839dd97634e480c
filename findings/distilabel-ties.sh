#!/usr/bin/env bash
# distilabel 1.5.3, datasets 5.2.0, requests 2.34.2.
# FormatTextGenerationDPO, the step that makes DPO's rows of rated answers, takes the best rating's answer as chosen and the worst's as
# rejected. Where all ratings are equal it takes the first answer for both, and hands on the row: DPO then has pairs of an answer and itself, loss log 2 and
# no gradient, which pull accuracy towards nothing and fill a share of each batch. UltraFeedback, the step before, makes more of these ties:
# "Rating: 4.5" is read as 4. FormatChatGenerationDPO does the same.
# Guess before it was run: such a row is left out or refused, and 4.5 is read as 4.5 or not at all.
# Seen: ratings [4, 4] of the text, chosen "one", rejected "one".
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile distilabel==1.5.3 datasets==5.2.0 requests==2.34.2
HF_HUB_OFFLINE=1 DISTILABEL_LOG_LEVEL=ERROR venv/bin/python - <<'PY'
from distilabel.models import OpenAILLM
from distilabel.steps import FormatChatGenerationDPO, FormatTextGenerationDPO
from distilabel.steps.tasks import UltraFeedback

judge = UltraFeedback(llm=OpenAILLM(model="none", api_key="none"), aspect="overall-rating")
row = {"instruction": "Count.", "messages": [{"role": "user", "content": "Count."}], "generations": ["one", "one, two"]}
row |= judge.format_output("Rating: 4\nRationale: Short.\n\nRating: 4.5\nRationale: Better.", row)
print(row["ratings"])
for step in (FormatTextGenerationDPO(), FormatChatGenerationDPO()):
    step.load()
    made = next(step.process([dict(row)]))[0]
    chosen, rejected = (made[name][-1]["content"] for name in ("chosen", "rejected"))
    print(type(step).__name__, chosen, rejected)
    assert row["ratings"] == [4, 4] and chosen == rejected == "one", "ties are met otherwise now"
PY
