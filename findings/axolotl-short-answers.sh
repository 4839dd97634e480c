#!/usr/bin/env bash
# axolotl 0.19.0 with transformers 5.23.0 (the chat templates are those that axolotl ships).
# `type: chat_template.default` for DPO renders "[[dummy_message]]" and the answer, looks for the answer's text from the left, and keeps all that stands
# behind it. A short answer is found earlier: in a default system prompt, a date, a role. What is trained as the chosen answer is then a part of the
# system prompt, the dummy and the end of its turn, the header of the assistant's, and at last the answer. Scores, letters of a choice and numbers are
# such answers, so that pairs of a judge's verdicts (4 against 5, by command_a) have one side with a foreign conversation in it and one without, which DPO tells apart.
# Guess before it was run: chosen and rejected are the assistant's turn, whatever it says.
# Seen, of the answers 0 to 9 and A to D: qwen_25 gets A and C wrong, command_a 0, 1, 2, 4, A, C and D, chatml and llama3 none; llama3_2_vision, which writes
# today's date, 0, 2, 3, C and D on every day, and others by the day. With it the answer 2023 to a question for a year is
#   "2023\nToday Date: ...<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n[[dummy_message]]<|eot_id|>...2023<|eot_id|>".
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile transformers==5.23.0 jinja2==3.1.6 colorama==0.4.6
venv/bin/pip -q install --no-compile --no-deps axolotl==0.19.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import sys
from unittest.mock import MagicMock

for name in ("axolotl.utils.distributed", "datasets"):  # who logs, and what a file is read with, do not matter to how a pair is rendered
    sys.modules[name] = MagicMock()

from axolotl.prompt_strategies.dpo.chat_template import default
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")


class Settings(dict):
    __getattr__ = dict.get


def pair(template, chosen, rejected="none of these"):
    rendered, _ = default(Settings(chat_template=template, datasets=[Settings()]))
    asked = [{"role": "user", "content": "Rate it."}]
    return rendered({"messages": asked, "chosen": chosen, "rejected": rejected}, tokenizer=tokenizer)


def foreign(template):
    found = "".join(answer for answer in "0123456789ABCD" if "[[dummy_message]]" in pair(template, answer)["chosen"])
    print(f"{template}: {found or 'none'} of 0 to 9 and A to D")
    return found


for template, expected in {"qwen_25": "AC", "command_a": "0124ACD", "chatml": "", "llama3": ""}.items():
    assert foreign(template) == expected, template
assert {*foreign("llama3_2_vision")} >= {*"023CD"}
row = pair("llama3_2_vision", "2023", "none of these")
print(row["chosen"], row["rejected"], sep="\n---\n")
assert row["chosen"].startswith("2023\nToday Date: ") and row["rejected"] == "none of these<|eot_id|>"
PY
