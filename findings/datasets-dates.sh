#!/usr/bin/env bash
# datasets 5.2.0, pyarrow 26.0.1.
# load_dataset("json") makes times of strings where every string of a file's column can be read as one. An answer "2020-01-01" then comes as a
# datetime. If a file of other answers is named first, its column is text, and the dates of the second are written back into text as
# another string, "2020-01-01 00:00:00", without a word: a gold answer that no right completion equals any more. Named in the other order,
# the same two files do not load. Dataset.from_list of the same rows keeps every string.
# Guess before it was run: strings in JSON stay the strings they are, or the two files are refused in either order.
# Seen: dates alone [datetime(2020, 1, 1), datetime(1999, 12, 31)]; after a text file ["in May", "12", "2020-01-01 00:00:00", "1999-12-31 00:00:00"].
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install datasets==5.2.0 pyarrow==26.0.1
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python - <<'PY'
import datetime, json
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError

dates, texts = ["2020-01-01", "1999-12-31"], ["in May", "12"]
for name, answers in (("dates.jsonl", dates), ("texts.jsonl", texts)):
    with open(name, "w") as file:
        file.writelines(json.dumps({"answer": answer}) + "\n" for answer in answers)

def load(*files):
    return load_dataset("json", data_files=list(files), split="train")["answer"][:]

alone, after_texts = load("dates.jsonl"), load("texts.jsonl", "dates.jsonl")
print(alone, after_texts)
try:
    before_texts = load("dates.jsonl", "texts.jsonl")
except DatasetGenerationError:
    before_texts = "does not load"
print("dates first:", before_texts)
assert Dataset.from_list([{"answer": answer} for answer in texts + dates])["answer"][:] == texts + dates
assert alone == [datetime.datetime(2020, 1, 1), datetime.datetime(1999, 12, 31)], "dates in JSON are read otherwise now"
assert after_texts == [*texts, "2020-01-01 00:00:00", "1999-12-31 00:00:00"], "dates after texts are read otherwise now"
assert before_texts == "does not load"
PY
