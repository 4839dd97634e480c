#!/usr/bin/env bash
# xgrammar 0.2.9 (torch 2.13.0, transformers 5.23.0).
# A string of a JSON schema that has a minLength or a maxLength can hold no escape: no line end, no quotation mark, no backslash and no
# \u. So {"reason": {"type": "string", "maxLength": 300}}, which is meant to keep a judge short, also keeps it from quoting the answer and from
# a second paragraph, and a model that was about to write one is pushed to other words. Without the bound all of that can be written.
# Guess before it was run: a bound on the length bounds the length, and each escape counts as the one character that it stands for.
# Seen: unbounded, all five strings pass; with minLength 1 or maxLength 300, "plain" alone.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0 xgrammar==0.2.9
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import json
import xgrammar

compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([chr(code) for code in range(128)] + ["</s>"], stop_token_ids=[128]))

def accepts(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return matcher.accept_string(text) and matcher.accept_token(128)

strings = ["plain", 'it says "yes"', "two\nlines", "a\\b", "caf\u00e9"]
for bound in ({}, {"minLength": 1}, {"maxLength": 300}):
    passed = [string for string in strings if accepts({"type": "string", **bound}, json.dumps(string))]
    print(bound, passed)
    assert passed == (strings if not bound else ["plain"]), "bounded strings may hold other things now"
assert not accepts({"type": "string", "maxLength": 4}, json.dumps("plain"))
PY
