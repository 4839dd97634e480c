#!/usr/bin/env bash
# xgrammar 0.2.9, llguidance 1.9.1, outlines-core 0.2.14, jsonschema 4.26.0 (torch 2.13.0, transformers 5.23.0).
# A pattern of JSON Schema is sought anywhere in the string: "Score: [1-5]" is met by a reason that ends with a score, and "^(Yes|No)" by a verdict with its
# reason. llguidance writes such strings. xgrammar and outlines-core take the pattern for the whole of the string: the judge can write the score and
# no reason before or behind it, so that the same schema gives a judge that thinks in one engine and one that blurts in another. Servers choose
# among the three by a switch, or by themselves. xgrammar drops ^ and $ where they stand, so that "^A|B$" is A or B; outlines-core
# finds no string at all for "^(Yes|No)" and is at least not silent.
# Guess before it was run: the three allow the same strings, those that jsonschema takes.
# Seen, "Score: [1-5]": jsonschema and llguidance take "Score: 3" and "It is good. Score: 3", xgrammar and outlines-core "Score: 3" alone; "^(Yes|No)":
# llguidance "Yes" and "Yes, it is.", xgrammar "Yes", outlines-core none; "^(Yes|No)$" is the same for all.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 xgrammar==0.2.9 llguidance==1.9.1 outlines-core==0.2.14 jsonschema==4.26.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import json
import re
import jsonschema
import llguidance
import xgrammar
from outlines_core.json_schema import build_regex_from_schema

letters, end = [chr(code) for code in range(128)], 128
compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([*letters, "</s>"], stop_token_ids=[end]))

class Letters:
    """A tokenizer of one token a letter, as llguidance asks for one."""

    eos_token_id, bos_token_id, special_token_ids = end, None, [end]
    tokens = [letter.encode() for letter in letters] + [b"</s>"]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())

reader = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Letters()))

def by_xgrammar(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return matcher.accept_string(text) and matcher.accept_token(end)

def by_llguidance(schema, text):
    matcher = llguidance.LLMatcher(reader, llguidance.LLMatcher.grammar_from_json_schema(schema))
    assert not matcher.is_error(), matcher.get_error()
    return matcher.try_consume_tokens(list(text.encode())) == len(text) and matcher.is_accepting()

def by_outlines(schema, text):
    return re.fullmatch(build_regex_from_schema(json.dumps(schema)), text) is not None

def by_jsonschema(schema, text):
    return jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))

ways = {"jsonschema": by_jsonschema, "llguidance": by_llguidance, "xgrammar": by_xgrammar, "outlines-core": by_outlines}
strings = "Score: 3", "It is good. Score: 3", "Yes", "Yes, it is.", "A", "At first"
found = {}
for pattern in ("Score: [1-5]", "^(Yes|No)", "^A|B$", "^(Yes|No)$"):
    schema = {"type": "string", "pattern": pattern}
    found[pattern] = {name: [string for string in strings if way(schema, json.dumps(string))] for name, way in ways.items()}
    print(pattern, found[pattern])
assert all(taken["llguidance"] == taken["jsonschema"] for taken in found.values())
assert found["Score: [1-5]"]["jsonschema"] == list(strings[:2]) and found["^(Yes|No)"]["jsonschema"] == ["Yes", "Yes, it is."]
assert all(taken == ["Yes"] for taken in found["^(Yes|No)$"].values())
assert [found[pattern]["xgrammar"] for pattern in list(found)[:3]] == [["Score: 3"], ["Yes"], ["A"]], "xgrammar seeks patterns otherwise now"
assert [found[pattern]["outlines-core"] for pattern in list(found)[:3]] == [["Score: 3"], [], []], "outlines-core seeks patterns otherwise now"
PY
