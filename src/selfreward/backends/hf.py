"""Sampling with transformers on one device.

What requests share is computed once: the tokens that a whole batch begins with, then each prompt for all its samples.
Rows that have stopped leave the batch. A row's random numbers come from its request's own seed, step by step, so that
what it draws does not depend on its neighbours but through the last bits of their common arithmetic.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.cache_utils import DynamicLayer

from selfreward.backends import likeliest
from selfreward.chat import end_of_turn, load_tokenizer, prompt_ids
from selfreward.errors import SelfRewardError, first_line
from selfreward.records import Completion, Finish, Message, Request
from selfreward.sections import BackendConfig

SHARED = 8
"""Fewer common first tokens than this are not worth a pass of their own."""


class RoomyLayer(DynamicLayer):
    """A cache layer that grows by blocks of tokens: `DynamicLayer` copies everything for every single one."""

    BLOCK = 32

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append and return keys and values, [batch, heads, tokens, head size]."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        rooms = self._rooms
        if rooms is None or end > rooms[0].shape[-2]:
            rooms = self._rooms = tuple(self._more_room(*both, end) for both in self._old_and_new(key_states, value_states))
        for room, new in zip(rooms, (key_states, value_states), strict=True):
            room[..., start:end, :] = new
        self.keys, self.values = (room[..., :end, :] for room in rooms)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep, or repeat, rows of the batch."""
        length = self.get_seq_length()
        rooms = self._rooms = tuple(room[indices] for room in self._rooms or (self.keys, self.values))
        self.keys, self.values = (room[..., :length, :] for room in rooms)

    def _old_and_new(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys[..., :0, :], values[..., :0, :]
        return (self.keys, keys), (self.values, values)

    def _more_room(self, old: torch.Tensor, new: torch.Tensor, tokens: int) -> torch.Tensor:
        room = new.new_empty((*new.shape[:-2], tokens + self.BLOCK, new.shape[-1]))
        room[..., : old.shape[-2], :] = old
        return room

    _rooms: tuple[torch.Tensor, ...] | None = None


@dataclass
class _Row:
    """One request while it is being completed."""

    request: Request
    prompt_tokens: int
    limit: int
    uniforms: np.ndarray
    ids: list[int] = field(default_factory=list)
    finish: Finish = "length"
    first_token: dict[str, float] | None = None


class HFModel:
    """A transformers causal language model on one device."""

    def __init__(self, path: Path, config: BackendConfig) -> None:
        device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        dtype = config.dtype if config.dtype != "auto" else "float32" if device == "cpu" else "bfloat16"
        if device != "cpu":
            gc.collect()  # the parts of a trainer refer to each other, and would keep the device's memory
        try:
            self.tokenizer = load_tokenizer(path)
            self.model, loading = AutoModelForCausalLM.from_pretrained(
                path, dtype=getattr(torch, dtype), trust_remote_code=False, use_safetensors=True, output_loading_info=True
            )
        except SelfRewardError:
            raise
        except Exception as error:  # tokenizers and safetensors raise nothing more specific
            raise _unreadable(path, first_line(error)) from error
        if loading["missing_keys"]:  # transformers would make them up
            raise _unreadable(path, f"its weights lack {min(loading['missing_keys'])}")
        self.model.to(device).eval()
        self.device, self.budget = torch.device(device), config.max_tokens_in_flight
        self.context = int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30)
        ends = self.model.generation_config.eos_token_id
        own = (end_of_turn(self.tokenizer), self.tokenizer.eos_token_id)
        self.stops = {*own, *(ends if isinstance(ends, list) else [ends])} - {None}
        self._encoded: dict[tuple[Message, ...], list[int]] = {}

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Requests of like length together, samples of one prompt together, within the token budget."""
        groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for at, request in enumerate(requests):
            groups[request.sampling.model_dump_json(), request.messages].append(at)
        batches: list[list[int]] = []
        for group in sorted(groups.values(), key=lambda group: self._order(requests[group[0]])):
            for at in group:
                if not batches or not self._fits(requests, batches[-1], at):
                    batches.append([])
                batches[-1].append(at)
        return batches

    def _order(self, request: Request) -> tuple[str, int]:
        return request.sampling.model_dump_json(), self._length(request)

    def _length(self, request: Request) -> int:
        return len(self._ids(request.messages)) + request.sampling.max_tokens

    def _fits(self, requests: Sequence[Request], batch: list[int], at: int) -> bool:
        same = requests[batch[0]].sampling == requests[at].sampling
        return same and (len(batch) + 1) * self._length(requests[at]) <= self.budget

    def _ids(self, messages: tuple[Message, ...]) -> list[int]:
        if messages not in self._encoded:
            self._encoded[messages] = prompt_ids(self.tokenizer, messages)
        return self._encoded[messages]

    @torch.inference_mode()
    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """Complete one batch; its requests share their sampling parameters."""
        lengths = [len(self._ids(request.messages)) for request in batch]
        fits = [request for request, length in zip(batch, lengths, strict=True) if length < self.context]
        if fits:
            yield from self._complete(fits)
        for request, length in zip(batch, lengths, strict=True):
            if length >= self.context:
                yield Completion(request_id=request.id, text="", finish="error", prompt_tokens=length, completion_tokens=0)

    def _complete(self, batch: Sequence[Request]) -> list[Completion]:
        prompts = list(dict.fromkeys(request.messages for request in batch))
        rows = [self._row(request) for request in batch]
        logits, cache, mask = self._prefill([self._ids(messages) for messages in prompts])
        place = {messages: at for at, messages in enumerate(prompts)}
        pick = torch.tensor([place[request.messages] for request in batch], device=self.device)
        for row in rows:
            row.first_token = self._first_token(logits[place[row.request.messages]], row.request.top_logprobs)
        cache.batch_select_indices(pick)
        self._decode(rows, logits[pick], cache, mask[pick])
        return [self._completion(row) for row in rows]

    def _row(self, request: Request) -> _Row:
        length = len(self._ids(request.messages))
        limit = min(request.sampling.max_tokens, self.context - length)
        return _Row(request, length, limit, np.random.Generator(np.random.Philox(request.seed)).random(limit))

    def _first_token(self, logits: torch.Tensor, count: int) -> dict[str, float] | None:
        """The `count` likeliest words of `logits` [word] as text, with their log-probabilities; None for a count of 0."""
        if not count:
            return None
        values, words = torch.log_softmax(logits.double(), dim=-1).topk(min(count, len(logits)))
        texts = (str(self.tokenizer.decode([word])) for word in words.tolist())
        return likeliest(zip(texts, values.tolist(), strict=True))

    def _prefill(self, prompts: list[list[int]]) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
        """Last logits [prompt, word], the cache and the mask [prompt, token] after reading `prompts`."""
        cache = DynamicCache(config=self.model.config)
        # A sliding window counts places, so padding between the prefix and the rest would use it up.
        shared = _common_prefix(prompts) if all(type(layer) is DynamicLayer for layer in cache.layers) else 0
        cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
        if shared:
            ids = torch.tensor([prompts[0][:shared]], device=self.device)
            self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_select_indices(torch.zeros(len(prompts), dtype=torch.long, device=self.device))
        rests = [prompt[shared:] for prompt in prompts]
        longest = max(map(len, rests))
        ids = torch.tensor([[0] * (longest - len(rest)) + rest for rest in rests], device=self.device)
        mask = torch.tensor([[1] * shared + [0] * (longest - len(r)) + [1] * len(r) for r in rests], device=self.device)
        logits = self._forward(ids, cache, mask)
        return logits, cache, mask

    def _forward(self, ids: torch.Tensor, cache: DynamicCache, mask: torch.Tensor) -> torch.Tensor:
        """Logits [row, word] after `ids` [row, token], the last tokens of `mask`."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        logits: torch.Tensor = out.logits[:, -1]
        return logits.float()

    def _decode(self, rows: list[_Row], logits: torch.Tensor, cache: DynamicCache, mask: torch.Tensor) -> None:
        """Extend `rows` token by token until each has stopped or reached its limit."""
        live = list(range(len(rows)))
        for step in range(max(row.limit for row in rows)):
            uniforms = torch.tensor([rows[at].uniforms[step] for at in live], device=self.device)
            drawn = draw(logits, uniforms, rows[0].request.sampling.temperature, rows[0].request.sampling.top_p)
            stay = []
            for place, (at, token) in enumerate(zip(live, drawn.tolist(), strict=True)):
                row = rows[at]
                if token in self.stops:
                    row.finish = "stop"
                    continue
                row.ids.append(token)
                if len(row.ids) < row.limit:
                    stay.append(place)
            if not stay:
                return
            if len(stay) < len(live):
                keep = torch.tensor(stay, device=self.device)
                cache.batch_select_indices(keep)
                mask, drawn, live = mask[keep], drawn[keep], [live[place] for place in stay]
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
            logits = self._forward(drawn[:, None], cache, mask)

    def _completion(self, row: _Row) -> Completion:
        # A role marker that the model wrote must show, or the forged turn after it would pass for the answer.
        text = str(self.tokenizer.decode(row.ids, skip_special_tokens=False))
        return Completion(
            request_id=row.request.id,
            text=text,
            finish=row.finish,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=len(row.ids),
            first_token=row.first_token,
        )

    def close(self) -> None:
        """Free the model's memory."""
        del self.model
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def draw(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """One token a row from `logits` [row, word], by inverting the distribution at `uniforms` [row] in [0, 1).

    The nucleus is the smallest set of the likeliest words with probability `top_p` at least; temperature 0 is greedy.
    """
    if temperature == 0:
        return logits.argmax(-1)
    probabilities, words = torch.softmax(logits.double() / temperature, dim=-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    mass = probabilities.masked_fill(before >= top_p, 0.0).cumsum(-1)
    place = torch.searchsorted(mass, (uniforms.double() * mass[:, -1])[:, None], right=True)
    return words.gather(-1, place.clamp(max=logits.shape[-1] - 1))[:, 0]


def _unreadable(path: Path, why: str) -> SelfRewardError:
    now = "Give a folder with a transformers causal language model in safetensors and its tokenizer"
    return SelfRewardError(f"cannot be loaded ({why})", str(path), now)


def _common_prefix(prompts: list[list[int]]) -> int:
    """How many first tokens all prompts share, leaving each at least one of its own; 0 where sharing would not pay."""
    if len(prompts) < 2:
        return 0
    shortest = min(map(len, prompts)) - 1
    shared = next((at for at in range(shortest) if len({prompt[at] for prompt in prompts}) > 1), shortest)
    return shared if shared >= SHARED else 0
