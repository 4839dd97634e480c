#!/usr/bin/env bash
# @huggingface/jinja 0.5.11 (node 18 or later), transformers 5.23.0, jinja2 3.1.6.
# Chat templates are written for Python and run in browsers and node by @huggingface/jinja. There lstrip('\n'), strip('\n') and rstrip('\n'), by which
# the templates of Qwen3 and others cut the blank between a thought and the answer, take no notice of what stands in the brackets: all
# blanks go, and an answer that begins with indented code has lost its indentation, "xx".lstrip('x') is as it was. A tool's arguments that are printed one
# by one are "true", "" and "1" for Python's "True", "None" and "1.0". Same model, same template, another prompt; nothing is raised.
# Guess before it was run: one template gives one text; at most a number such as 1.0 is written otherwise.
# Seen: transformers "<assistant>    return x\n<f a=True b=None c=1.0 d=abcxx>", node "<assistant>return x\n<f a=true b= c=1 d=xxabcxx>".
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile transformers==5.23.0 jinja2==3.1.6
npm install --silent --no-audit --no-fund @huggingface/jinja@0.5.11
cat > one.py <<'PY'
import json
from transformers.utils.chat_template_utils import render_jinja_template

template = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content.split('</think>')[-1].lstrip('\\n') }}"
    "{% for call in message.tool_calls %}<{{ call.name }}{% for key, value in call.arguments|items %} {{ key }}={{ value }}{% endfor %}"
    " d={{ 'xxabcxx'.lstrip('x') }}>{% endfor %}{% endfor %}"
)
call = {"name": "f", "arguments": {"a": True, "b": None, "c": 1.0}}
messages = [{"role": "assistant", "content": "<think>why</think>\n\n    return x\n", "tool_calls": [call]}]
text = render_jinja_template(conversations=[messages], chat_template=template)[0][0]
json.dump({"template": template, "messages": messages, "text": text}, open("case.json", "w"))
PY
HF_HUB_OFFLINE=1 venv/bin/python one.py
cat > two.mjs <<'JS'
import assert from "node:assert";
import fs from "node:fs";
import { Template } from "@huggingface/jinja";

const { template, messages, text } = JSON.parse(fs.readFileSync("case.json"));
const here = new Template(template).render({ messages });
console.log(JSON.stringify({ transformers: text, node: here }));
assert.equal(text, "<assistant>    return x\n<f a=True b=None c=1.0 d=abcxx>");
assert.equal(here, "<assistant>return x\n<f a=true b= c=1 d=xxabcxx>", "templates are rendered otherwise now");
JS
node two.mjs
