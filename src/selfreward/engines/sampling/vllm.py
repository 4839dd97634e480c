"""Sampling with vLLM's offline engine, which works in processes of its own: what they held of the devices is free when they end.

Prompts are sent as the tokens that `chat` makes of them, answers come back as tokens, and every sampling field is set, so that
nothing of vLLM's own (a chat template, the model's generation settings) stands between. What requests begin with alike is
computed once, by vLLM's prefix caching. Its `n` is not used: it makes n requests of one, with the seeds s, s + 1, …, and no more;
the samples of a prompt, sent here as requests of their own with a seed each, share its blocks in the same way.

An answer depends on its neighbours by the last bits of their common arithmetic: nothing answered is asked again, but another
run may answer otherwise (`VLLM_BATCH_INVARIANT=1` makes vLLM promise more, on the devices where it can).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from selfreward.engines.protocols import Advance, likeliest, unanswered, untold
from selfreward.engines.sampling.drawing import Spellings
from selfreward.engines.sampling.leash import Leash
from selfreward.engines.thoughts import without_thought
from selfreward.engines.tokens import answer_text, completion_ids, decode, end_of_turn, load_tokenizer, prompt_ids, template
from selfreward.errors import SelfRewardError, first_line, pip_install
from selfreward.recipe import BackendConfig
from selfreward.records import Completion, Finish, Posed, Request, Watched

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # else it reports to its makers
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork of a process with threads may hang

try:
    from vllm import EngineArgs, LLMEngine, SamplingParams
    from vllm.inputs.engine import tokens_input
    from vllm.platforms import current_platform
    from vllm.sampling_params import RequestOutputKind
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.exceptions import EngineDeadError
except ImportError as error:
    what = "vllm is not installed" if error.name == "vllm" else f"vllm cannot be imported ({first_line(error)})"
    raise SelfRewardError(what, 'backend.type = "vllm"', pip_install("vllm")) from error

FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}
"""Our names for vLLM's reasons to end; any other reason is an error."""
AHEAD = 2
"""Requests handed to vLLM, as a multiple of those it works on at once: more would only wait there, in memory."""
SEEDS = 2**63
"""vLLM keeps seeds in 64 bits with a sign."""


class VLLMModel:
    """A causal language model in a vLLM engine, on as many devices of this machine as `tensor_parallel` says."""

    streams = True
    """An answer depends on its own request: batches may be asked together, each kept as it comes."""

    def __init__(self, path: Path, config: BackendConfig) -> None:
        _free_own()
        self.tell: Advance = untold
        self._where, self._count, self._leash = str(path), 0, Leash()
        try:
            self._engine = self._opened(path, config)
        except BaseException:
            self._leash.end()
            raise
        self._context = self._engine.vllm_config.model_config.max_model_len
        self._seats = self._engine.vllm_config.scheduler_config.max_num_seqs
        self._spellings = Spellings(self._tokenizer)
        self._last: tuple[Posed, list[int]] = (((), False), [])

    def _opened(self, path: Path, config: BackendConfig) -> Any:
        """The engine; also finds the tokenizer and where an answer stops."""
        try:
            self._tokenizer = load_tokenizer(path)
            self._stops = {end_of_turn(self._tokenizer), self._tokenizer.eos_token_id, *_ends(path)} - {None}
            args = _engine_args(path, config)
            with self._leash.on():
                return LLMEngine.from_engine_args(args, UsageContext.LLM_CLASS, enable_multiprocessing=True)
        except SelfRewardError:
            raise
        except Exception as error:  # vLLM, tokenizers and safetensors have no error in common
            now = "Look at what vLLM wrote above; the hf backend may know this model, or the device's memory may be in use"
            raise SelfRewardError(f"cannot be loaded by vLLM ({first_line(error)})", str(path), now) from error

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """One batch for each request: each answer is kept at once, and vLLM batches as it likes."""
        return [[at] for at in range(len(requests))]

    def prepare(self, requests: Sequence[Request]) -> None:
        """Do nothing: vLLM finds the prefixes that prompts share."""

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """Completions as they finish. Raises `SelfRewardError` where the engine ends or refuses the sampling."""
        # Of a batch in which some ask for likely words and some for watched ones, vLLM answers only the latter.
        for _, alike in groupby(batch, key=lambda request: (request.forced is None, bool(request.top_logprobs), request.watch)):
            yield from self._stream(alike)

    def close(self) -> None:
        """End the engine's processes, which frees their memory."""
        self._engine.engine_core.shutdown()
        self._engine = None
        self._leash.end()

    def _stream(self, requests: Iterable[Request]) -> Iterator[Completion]:
        left, under_way = iter(requests), dict[str, Request]()
        try:
            while True:
                new = list(islice(left, AHEAD * self._seats - len(under_way)))
                if not new and not under_way:
                    return
                for request in new:
                    ids = [*self._ids(request), *self._forced(request)]
                    if len(ids) < self._context:
                        under_way[self._ask(request, ids)] = request
                    else:
                        yield unanswered(request, len(ids))
                drawn = min(len(under_way), self._seats)  # a step draws a token of each that has a seat
                for output in self._step() if under_way else ():
                    yield self._completion(under_way.pop(output.request_id), output)
                self.tell(drawn)
        finally:
            if under_way and self._engine:
                with suppress(EngineDeadError):
                    self._engine.abort_request([*under_way])

    def _ids(self, request: Request) -> list[int]:
        if request.posed != self._last[0]:  # a prompt's samples follow one another
            self._last = request.posed, prompt_ids(self._tokenizer, *request.posed)
        return self._last[1]

    def _forced(self, request: Request) -> list[int]:
        """The tokens of a forced answer: vLLM is to read them as a part of the prompt, and tells how likely a prompt is."""
        if request.forced is None:
            return []
        return completion_ids(self._tokenizer, request.messages, request.forced, request.forced_thought)

    def _ask(self, request: Request, ids: list[int]) -> str:
        """Hand a request over; returns its name in vLLM."""
        self._count += 1
        try:
            self._engine.add_request(str(self._count), tokens_input(ids), self._params(request, self._context - len(ids)))
        except ValueError as error:
            now = "Correct the sampling in the recipe, or use the hf backend"
            raise SelfRewardError(f"vLLM refuses a request ({first_line(error)})", self._where, now) from error
        return str(self._count)

    def _step(self) -> list[Any]:
        """One step of all requests under way; returns the outputs (`vllm.RequestOutput`) of those that it finished."""
        try:
            return [output for output in self._engine.step() if output.finished]
        except EngineDeadError as error:
            now = "Look at what vLLM wrote above; the same command goes on from here"
            raise SelfRewardError("vLLM's engine has ended", self._where, now) from error

    def _params(self, request: Request, room: int) -> SamplingParams:
        """The sampling parameters of a request whose context has `room` tokens left."""
        sampling, forced = request.sampling, request.forced is not None
        return SamplingParams(
            n=1, temperature=sampling.temperature, top_p=sampling.top_p, top_k=0, min_p=0.0,
            presence_penalty=0.0, frequency_penalty=0.0, repetition_penalty=1.0,
            max_tokens=1 if forced else min(sampling.longest, room), min_tokens=0,  # after a prompt it samples one at least
            seed=request.seed % SEEDS, stop_token_ids=sorted(self._stops), ignore_eos=True, detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY, **self._wanted(request),
        )  # fmt: skip

    def _wanted(self, request: Request) -> dict[str, Any]:
        """The log-probabilities to return at every token: natural, before temperature and top-p, as `raw_logprobs` are."""
        if request.forced is not None:
            return {"prompt_logprobs": 0}  # of the prompt's own tokens alone
        spelled = self._spellings.spellings(request.watch) if request.watch else {}
        watched = [token for tokens in spelled.values() for token in tokens]
        if watched and request.top_logprobs:
            return {"logprobs": -1}  # vLLM gives the one or the other, or everything
        if watched:
            return {"logprob_token_ids": watched}
        return {"logprobs": request.top_logprobs or None}

    def _completion(self, request: Request, output: Any) -> Completion:
        if request.forced is None:
            return self._answer(request, output)
        if output.outputs[0].finish_reason not in FINISHES:
            return unanswered(request, len(output.prompt_token_ids))
        return self._likelihood(request, output)

    def _likelihood(self, request: Request, output: Any) -> Completion:
        """A forced answer with what vLLM told of its tokens: prompt log-probabilities, one place after another."""
        ids, places = self._forced(request), output.prompt_logprobs
        tokens = zip(ids, places[len(places) - len(ids) :], strict=True)
        return Completion(
            request_id=request.id,
            text=answer_text(self._tokenizer, ids[:-1]),
            finish="stop",
            prompt_tokens=len(output.prompt_token_ids) - len(ids),
            completion_tokens=len(ids) - 1,
            logprob=sum(place[token].logprob for token, place in tokens),
        )

    def _answer(self, request: Request, output: Any) -> Completion:
        answer = output.outputs[0]
        finish = FINISHES.get(answer.finish_reason, "error")
        ids = [*answer.token_ids]
        if finish == "stop":
            ids.pop()
        likely = [{token: word.logprob for token, word in place.items()} for place in answer.logprobs or ()]
        completion = Completion(
            request_id=request.id,
            text=answer_text(self._tokenizer, ids),  # as the hf backend, for its reason
            finish=finish,
            prompt_tokens=len(output.prompt_token_ids),
            completion_tokens=len(ids),
            first_token=self._first_token(likely[0], request.top_logprobs) if likely else None,
            watched=self._watched(request.watch, ids, likely) if request.watch else (),
            ids=tuple(answer.token_ids),
        )
        return without_thought(completion, request, template(self._tokenizer).thought.opened)

    def _first_token(self, likely: dict[int, float], count: int) -> dict[str, float] | None:
        """The `count` likeliest words as text; the word that was drawn is among `likely` and need not be one of them."""
        best = sorted(likely.items(), key=lambda word: -word[1])[:count]
        return likeliest((decode(self._tokenizer, [token]), logprob) for token, logprob in best) or None

    def _watched(self, words: tuple[str, ...], ids: list[int], likely: list[dict[int, float]]) -> tuple[Watched, ...]:
        seen = (self._spellings.read(words, ids[: at + 1], place) for at, place in zip(range(len(ids)), likely, strict=False))
        return tuple(found for found in seen if found)


def _engine_args(path: Path, config: BackendConfig) -> EngineArgs:
    """The settings of the engine. Its share of a device's memory is vLLM's own: nothing else is held there while it samples."""
    kind = current_platform.device_type
    if config.device not in ("auto", kind):
        now = 'Leave backend.device at "auto"; CUDA_VISIBLE_DEVICES sets the devices that it sees'
        raise SelfRewardError(f"this vLLM is built for {kind!r}, not {config.device!r}", "backend.device", now)
    usual = "float32" if kind == "cpu" else "bfloat16"
    return EngineArgs(
        model=str(path), skip_tokenizer_init=True, trust_remote_code=False, load_format="safetensors", use_tqdm_on_load=False,
        dtype=usual if config.dtype == "auto" else config.dtype, tensor_parallel_size=config.tensor_parallel,
        max_model_len=-1,  # the model's own, or what there is memory for
        enable_chunked_prefill=False if kind == "cpu" else None,  # a CPU's generators cannot be set back after half a prompt
        generation_config="vllm", enable_prefix_caching=True, logprobs_mode="raw_logprobs", max_logprobs=-1,
        seed=0, disable_log_stats=True,
    )  # fmt: skip


def _ends(path: Path) -> set[int | None]:
    """The tokens that the model's own generation settings stop at."""
    try:
        settings = GenerationConfig.from_pretrained(path)
    except OSError:
        settings = GenerationConfig.from_model_config(AutoConfig.from_pretrained(path, trust_remote_code=False))
    ends = settings.eos_token_id
    return {*ends} if isinstance(ends, list) else {ends}


def _free_own() -> None:
    """Give back what this process holds of a GPU: the parts of a trainer refer to each other, and torch keeps what they leave."""
    gc.collect()
    torch.cuda.empty_cache()
