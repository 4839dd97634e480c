"""Sampling with transformers on one device.

What requests share is computed once: the tokens that a whole stage's prompts begin with, then each prompt for all its
samples (`tree`; `plain`, by copying, for architectures that it does not suit), and samples of a prompt are one row for as long
as they have the same words. Rows that have stopped leave the batch. A row's
random numbers come from its request's own seed, step by step, so that what it draws does not depend on its neighbours but
through the last bits of their common arithmetic.
"""

from __future__ import annotations

import gc
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from selfreward.engines.machine import find_device, memory_here, ran_out
from selfreward.engines.protocols import Advance, likeliest, untold
from selfreward.engines.sampling.drawing import Spellings, draw
from selfreward.engines.sampling.plain import CANNOT, Plain, shortest
from selfreward.engines.sampling.rows import Row, in_place
from selfreward.engines.sampling.sizes import SEES_AHEAD, token_bytes
from selfreward.engines.sampling.suited import suits, way_of
from selfreward.engines.sampling.tree import Tree
from selfreward.engines.soundness import assert_sound
from selfreward.engines.thoughts import without_thought
from selfreward.engines.tokens import answer_text, completion_ids, decode, end_of_turn, load_tokenizer, prompt_ids, template
from selfreward.errors import OutOfMemory, SelfRewardError, first_line
from selfreward.recipe import BackendConfig
from selfreward.records import Completion, Message, Posed, Request

SHARED = 8
"""Fewer common first tokens than this are not worth a pass of their own."""


class HFModel:
    """A transformers causal language model on one device."""

    def __init__(self, path: Path, config: BackendConfig) -> None:
        self.tell: Advance = untold
        find_device(config.device)
        device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        dtype = config.dtype if config.dtype != "auto" else "float32" if device == "cpu" else "bfloat16"
        if device != "cpu":
            gc.collect()  # the parts of a trainer refer to each other, and would keep the device's memory
        assert_sound(path)  # transformers would make up what is missing
        try:
            self.tokenizer = load_tokenizer(path)
            self.model = AutoModelForCausalLM.from_pretrained(
                path, dtype=getattr(torch, dtype), return_dict=True, trust_remote_code=False, use_safetensors=True
            )
        except SelfRewardError:
            raise
        except Exception as error:  # tokenizers and safetensors raise nothing more specific
            raise _unreadable(path, first_line(error)) from error
        self.model.to(device).eval()
        self.device, room, parameters = torch.device(device), _room(self.model), self.model.num_parameters()
        try:
            self.shares = suits(self.model)
            self.way = None if self.shares else way_of(self.model)
        except CANNOT as error:
            raise _unreadable(path, f"it does not run on text alone, in {dtype} on {device}: {first_line(error)}") from error
        if not self.shares and self.way is None:
            raise _unreadable(path, f"it {SEES_AHEAD}")
        cuda = self.device.type == "cuda"
        self.budget = config.in_flight(room, token_bytes(self.model), cuda, parameters)
        held = sum(tensor.nbytes for tensor in shortest(self.model, self.way)) if self.way else 0
        self.rows = config.in_flight(room, held, cuda) if held else self.budget
        self.context = int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30)
        own, ends = (end_of_turn(self.tokenizer), self.tokenizer.eos_token_id), self.model.generation_config.eos_token_id
        self.stops = {*own, *(ends if isinstance(ends, list) else [ends])} - {None}
        self._spellings = Spellings(self.tokenizer)
        self._encoded: dict[Posed, array[int]] = {}
        self.prepare(())

    @property
    def unshared(self) -> str:
        """A line about what is computed or held more often than it need be; empty where nothing is."""
        return self.way.unshared() if self.way else ""

    # ——— the plan of a stage ———

    @torch.inference_mode()
    def prepare(self, requests: Sequence[Request]) -> None:
        """Read the common beginning of the prompts of all requests of a stage."""
        self._reader = Plain(self.model, self.way) if self.way else Tree(self.model)
        self._encoded = {asked: self._tokens(*asked) for asked in {request.posed for request in requests}}
        if shared := self._shared(requests):
            self._reader.plant(self._ids(*requests[0].posed)[:shared])
        self._prepared = set(self._encoded)

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Requests of like length together, samples of one prompt together, within the token budget."""
        shared = self._shared(requests)
        groups: dict[tuple[str, Posed], list[int]] = defaultdict(list)
        for at, request in enumerate(requests):
            groups[f"{request.sampling.model_dump_json()} {request.forced is not None}", request.posed].append(at)
        batches: list[list[int]] = []
        kind, prompts = "", 0
        for (sampling, asked), group in sorted(groups.items(), key=lambda item: (item[0][0], len(self._tokens(*item[0][1])))):
            length = len(self._tokens(*asked)) - (shared if self.shares else 0)
            longest = requests[group[0]].sampling.longest
            begun = False
            for at in group:
                if sampling != kind or not self._fits(prompts + (not begun), len(batches[-1]) + 1, length, longest):
                    batches.append([])
                    kind, prompts, begun = sampling, 0, False
                prompts += not begun
                begun = True
                batches[-1].append(at)
        return batches

    def _fits(self, prompts: int, rows: int, length: int, longest: int) -> bool:
        """True if so many rows of so many prompts fit, where no row adds more than `length` tokens of its own."""
        return rows <= self.rows and (prompts if self.shares else rows) * length + rows * longest <= self.budget

    def _shared(self, requests: Sequence[Request]) -> int:
        """The number of first tokens that all prompts share, each keeping one of its own; 0 where sharing would not pay."""
        prompts = [self._tokens(*asked) for asked in {request.posed: None for request in requests}]
        if (self.way and not self.way.shares) or len(prompts) < 2:
            return 0
        first, last = min(prompts), max(prompts)  # in the order of their tokens, all others lie between
        most = min(map(len, prompts)) - 1
        shared = next((at for at in range(most) if first[at] != last[at]), most)
        return shared if shared >= SHARED else 0

    def _tokens(self, messages: tuple[Message, ...], think: bool = False) -> array[int]:
        """A prompt's ids at four bytes each; a list would take forty, and all prompts of a stage are held."""
        if (messages, think) not in self._encoded:
            self._encoded[messages, think] = array("i", prompt_ids(self.tokenizer, messages, think))
        return self._encoded[messages, think]

    def _ids(self, messages: tuple[Message, ...], think: bool = False) -> list[int]:
        return self._tokens(messages, think).tolist()

    # ——— one batch ———

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """Complete one batch of what was prepared, each request as soon as it stops; they share their sampling parameters.

        Raises `OutOfMemory` where it is more than the device can hold and has parts.
        """
        if not self._prepared.issuperset(request.posed for request in batch):
            self.prepare(batch)
        lengths = [len(self._tokens(*request.posed)) for request in batch]
        fits = [request for request, length in zip(batch, lengths, strict=True) if length < self.context]
        if fits:
            yield from self._completed(fits)
        for request, length in zip(batch, lengths, strict=True):
            if length >= self.context:
                yield Completion(request_id=request.id, text="", finish="error", prompt_tokens=length, completion_tokens=0)

    def _completed(self, batch: Sequence[Request]) -> Iterator[Completion]:
        try:
            yield from self._complete(batch)
            return
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not ran_out(error):
                raise
        # Out here, where the error no longer holds on to what had been computed.
        self._reader.prune()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(f"{len(batch)} requests at once are more than {self.device} can hold")

    @torch.inference_mode()
    def _complete(self, batch: Sequence[Request]) -> Iterator[Completion]:
        prompts = {asked: at for at, asked in enumerate(dict.fromkeys(request.posed for request in batch))}
        rows = [self._row(request) for request in batch]
        logits = self._reader.branch([self._ids(*asked)[self._reader.trunk :] for asked in prompts])
        places = [prompts[request.posed] for request in batch]
        for row, place in zip(rows, places, strict=True):
            row.first_token = self._first_token(logits[place], row.request.top_logprobs)
        self._reader.fan(torch.arange(len(prompts), device=self.device))
        try:
            yield from map(self._completion, self._decode(rows, places, logits))
        finally:
            self._reader.prune()

    def _row(self, request: Request) -> Row:
        length = len(self._tokens(*request.posed))
        limit, forced = min(request.sampling.longest, self.context - length), None
        if request.forced is not None:
            forced = completion_ids(self.tokenizer, request.messages, request.forced, request.forced_thought)
            limit = min(len(forced), self.context - length)
        return Row(request, length, limit, np.random.Generator(np.random.Philox(request.seed)).random(limit), forced)

    def _first_token(self, logits: torch.Tensor, count: int) -> dict[str, float] | None:
        """The `count` likeliest words of `logits` [word] as text, with their log-probabilities; None for a count of 0."""
        if not count:
            return None
        values, words = torch.log_softmax(logits.double(), dim=-1).topk(min(count, len(logits)))
        return likeliest(zip((decode(self.tokenizer, [word]) for word in words.tolist()), values.tolist(), strict=True))

    def _decode(self, rows: list[Row], texts: list[int], logits: torch.Tensor) -> Iterator[Row]:
        """Extend `rows` token by token until each has stopped or reached its limit; each as soon as it has.

        Rows with the same words so far are one text to the model: `texts` says which of `logits` [text, word] is each row's.
        """
        live = [*zip(rows, texts, strict=True)]
        for step in range(max(row.limit for row in rows)):
            tokens = self._drawn([row for row, _ in live], step, logits[[text for _, text in live]])
            goes_on = [self._take(row, token, logits[text]) for (row, text), token in zip(live, tokens, strict=True)]
            yield from (row for (row, _), on in zip(live, goes_on, strict=True) if not on)
            self.tell(len(live))
            stay = [(row, (text, token)) for (row, text), token, on in zip(live, tokens, goes_on, strict=True) if on]
            if not stay:
                return
            grown = in_place(dict.fromkeys(longer for _, longer in stay))
            places = {longer: place for place, longer in enumerate(grown)}
            live = [(row, places[longer]) for row, longer in stay]
            before, drawn = zip(*grown, strict=True)
            if [*before] != [*range(len(logits))]:
                self._reader.keep(torch.tensor(before, device=self.device))
            logits = self._reader.grow(torch.tensor(drawn, device=self.device))

    def _drawn(self, rows: list[Row], step: int, logits: torch.Tensor) -> list[int]:
        """The next token of each row: drawn from `logits` [row, word], or the forced one. All rows are of one kind."""
        if rows[0].forced is None:
            uniforms = torch.tensor([row.uniforms[step] for row in rows], device=self.device)
            return draw(logits, uniforms, rows[0].request.sampling.temperature, rows[0].request.sampling.top_p).tolist()
        tokens = [row.forced[step] for row in rows if row.forced]
        places = torch.tensor(tokens, device=self.device)[:, None]
        logprobs = torch.log_softmax(logits.double(), dim=-1).gather(-1, places)[:, 0].tolist()
        for row, logprob in zip(rows, logprobs, strict=True):
            row.logprob += logprob
        return tokens

    def _take(self, row: Row, token: int, logits: torch.Tensor) -> bool:
        """Append the token drawn from `logits` [word] to `row`; returns True if the row goes on."""
        if row.forced is not None and len(row.ids) + 1 < len(row.forced):
            row.ids.append(token)
            return len(row.ids) < row.limit
        if token in self.stops:
            row.finish, row.stop = "stop", [token]
            return False
        row.ids.append(token)
        if row.request.watch and (seen := self._spellings.look(row.request.watch, row.ids, logits)):
            row.watched.append(seen)
        return len(row.ids) < row.limit

    def _completion(self, row: Row) -> Completion:
        # A role marker that the model wrote must show, or the forged turn after it would pass for the answer.
        completion = Completion(
            request_id=row.request.id,
            text=answer_text(self.tokenizer, row.ids),
            finish=row.finish,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=len(row.ids),
            first_token=row.first_token,
            watched=tuple(row.watched),
            logprob=row.logprob if row.forced is not None and row.finish == "stop" else None,
            ids=(*row.ids, *row.stop) if row.forced is None else None,
        )
        return without_thought(completion, row.request, template(self.tokenizer).thought.opened)

    def close(self) -> None:
        """Free the model's memory."""
        del self.model, self._reader
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def _room(model: PreTrainedModel) -> int:
    """Bytes beside the weights on the model's device. In use or not: a plan of batches must not hang on the moment."""
    device = model.device
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else memory_here()
    return max(0, int(memory - sum(weight.nbytes for weight in model.parameters())))


def _unreadable(path: Path, why: str) -> SelfRewardError:
    now = "Give a folder with a transformers causal language model in safetensors and its tokenizer"
    return SelfRewardError(f"cannot be loaded ({why})", str(path), now)
