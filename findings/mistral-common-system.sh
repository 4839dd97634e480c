#!/usr/bin/env bash
# mistral-common 1.13.1 (its own tokenizers v1, v2, v3 and v3 with tekken, which come with the package).
# Tokenizers of version 2 and 3 (Mistral 7B v0.2 and v0.3, Mixtral, Nemo) write the system prompt into the last turn of the user, and not into the
# first, as version 1 does: it wanders through the dialogue with every turn. So the tokens of a dialogue are no prefix of the tokens
# of the same dialogue gone on with. A cache of the prefix is of no use, labels masked by the length of the shorter text stand at the wrong tokens, and a
# judge that reads turn by turn reads another text each time. Spaces at the end of an assistant's turn go too.
# Guess before it was run: the system prompt stays in front, and one turn more only adds tokens.
# Seen, v3: "<s>[INST] S<0x0A><0x0A>one[/INST]", then "<s>[INST] one[/INST] first</s>[INST] S<0x0A><0x0A>two[/INST]". Prefix: v1 True, others False.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile mistral-common==1.13.1 sentencepiece==0.2.3
venv/bin/python - <<'PY'
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

first = [SystemMessage(content="S"), UserMessage(content="one")]
second = [*first, AssistantMessage(content="first"), UserMessage(content="two")]
kinds = {"v1": MistralTokenizer.v1(), "v2": MistralTokenizer.v2(), "v3": MistralTokenizer.v3(), "tekken": MistralTokenizer.v3(is_tekken=True)}
found = {}
for kind, tokenizer in kinds.items():
    short, long = (tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)) for messages in (first, second))
    found[kind] = long.tokens[: len(short.tokens)] == short.tokens
    print(kind, short.text, long.text, "prefix:", found[kind])
assert found == {"v1": True, "v2": False, "v3": False, "tekken": False}, "the system prompt stands elsewhere now"
PY
