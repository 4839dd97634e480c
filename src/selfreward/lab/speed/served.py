"""Real weights: our engine beside `generate()` (b), and llama.cpp (f) and vLLM (g) in environments that the user names.

Each of the last two is behind its own server, asked by our stages through the engine for servers that a recipe would use. Their
processor seconds are those of the server and of what asks it.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from selfreward.errors import SelfRewardError
from selfreward.lab.speed.work import Work
from selfreward.recipe import ServerConfig

SLOTS = 4
"""Texts that llama.cpp's server writes at once; each slot keeps the prompt that it read last."""
AT_ONCE = 64
"""Requests that vLLM holds at once."""
ROOM = 2048
"""Tokens of a prompt and its answer."""
BEFORE = 4600
"""Characters of judged examples in front of the rubric, so that a judge's prompt is mostly the same for all."""
READY = 3000.0
"""Seconds to wait for a server to load its model."""
LLAMA = """
import sys, xllamacpp
file, port, threads, slots, room = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_parallel, params.n_ctx = file, port, slots, slots * room
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
params.cache_prompt, params.cont_batching = True, True
server = xllamacpp.Server(params)
sys.stdin.read()
"""
"""Serves until its input ends, which it does with whoever started it."""


class Engine(NamedTuple):
    """A way to sample from the model."""

    arm: str
    title: str
    dtype: str = "float32"
    python: str = ""
    """The Python with the server's package; none for what runs in this one."""
    file: str = ""
    """The server's weights: a GGUF file, or a folder."""


def engines(model: Path, llama: str, gguf: tuple[str, ...], vllm: str) -> list[Engine]:
    """Our engine in both types of number, generate(); llama.cpp with each file, vLLM in both types, where the user named them."""
    ours = [Engine("a", f"selfreward, {dtype}", dtype) for dtype in ("float32", "bfloat16")]
    plain = Engine("b", "generate(), float32")
    llamas = [Engine("f", f"llama.cpp, {Path(file).name}", "as in the file", llama, file) for file in gguf if llama]
    vllms = [Engine("g", f"vLLM, {dtype}", dtype, vllm, str(model)) for dtype in ("float32", "bfloat16") if vllm]
    return [*ours, plain, *llamas, *vllms]


@dataclass(frozen=True)
class Spoken(Work):
    """Work in ordinary words, from the seed of the checkable world, and with the paper's rubric."""

    before: int = BEFORE
    """Characters of judged examples in front of the rubric."""

    def texts(self) -> list[str]:
        """The prompts; no two are the same."""
        rows = _rows("prompts.jsonl")
        return [str(row["text"]) for row in random.Random(self.seed).sample(rows, self.prompts)]

    def rubric(self) -> str:
        """The judge's prompt, with its slots: examples of judgments, then the paper's rubric."""
        rows = [f"{row['prompt']}\n{row['response']}" for row in _rows("eft.jsonl")]
        rows = [row for row in rows if not {"{", "}"} & set(row)]
        random.Random(f"rubric {self.seed}").shuffle(rows)
        text = "\n\n".join(rows)[: self.before]
        return f"{text}\n\n{(files('selfreward.recipe') / 'rubrics' / 'judge_additive.txt').read_text(encoding='utf-8')}"


def _rows(name: str) -> list[dict[str, Any]]:
    path = Path(str(files("selfreward.lab.checkable") / "seed" / name))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spend_served(work: Spoken, engine: Engine, threads: int, stage: Path) -> dict[str, Any]:
    """Costs of the work's sampling by `engine`, after a few tokens of another text. `stage`: as of `measured`."""
    from selfreward.engines import load_checkpoint, outside_model, quiet_libraries
    from selfreward.lab.speed.baseline import batched
    from selfreward.lab.speed.ledger import Enough, Ledger, peak_memory
    from selfreward.lab.speed.ours import selfreward

    quiet_libraries()
    with serving(engine, threads) if engine.python else nullcontext(None) as server:

        class Both(Ledger):
            """Counts the server's processor seconds too."""

            def _now(self) -> tuple[float, float]:
                return time.perf_counter(), time.process_time() + (seconds(server.pid) if server else 0.0)

        servers = {"engine": server.config} if server else {}
        start = outside_model("engine", servers) if server else load_checkpoint("M1", str(work.model))
        warm = replace(work, seed=work.seed + 1, prompts=1, n=1, k=1, candidate_tokens=4, judgment_tokens=4, before=0)
        for part in (warm, work):
            ledger = Both(work.device, stage, work.last)
            with TemporaryDirectory() as folder, suppress(Enough):
                if engine.arm == "b":
                    batched(part, ledger, Path(folder), False)
                else:
                    selfreward(part, ledger, Path(folder), False, start, servers)
        found = ledger.found()
        return {**found, "peak": peak_memory() + (memory(server.pid) if server else 0)}


class Serving(NamedTuple):
    """A server that answers."""

    pid: int
    config: ServerConfig


@contextmanager
def serving(engine: Engine, threads: int) -> Iterator[Serving]:
    """A server of `engine`, from when it answers; it ends with the block. Raises `SelfRewardError` where it does not begin."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}/v1", Path("server.log")
    with log.open("w") as told:
        process = subprocess.Popen(
            _command(engine, port, threads), stdin=subprocess.PIPE, stdout=told, stderr=told, env=_environment(threads)
        )
    try:
        until = time.monotonic() + READY
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > until:
                lines = log.read_text(errors="replace").strip().splitlines()
                what = f"does not serve the model: {lines[-1] if lines else 'it said nothing'}"
                raise SelfRewardError(what, engine.python, "Name the Python of an environment that has its package")
            time.sleep(0.5)
        concurrency = SLOTS if engine.arm == "f" else AT_ONCE
        yield Serving(process.pid, ServerConfig(url=url, model="engine", concurrency=concurrency, timeout=3600))
    finally:
        process.terminate()
        process.wait()


def _command(engine: Engine, port: int, threads: int) -> list[str]:
    if engine.arm == "f":
        return [engine.python, "-c", LLAMA, engine.file, *map(str, (port, threads, SLOTS, ROOM))]
    options = {
        "model": engine.file, "served-model-name": "engine", "dtype": engine.dtype,
        "port": port, "host": "127.0.0.1", "max-model-len": ROOM, "max-num-seqs": AT_ONCE, "generation-config": "vllm",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [engine.python, "-m", "vllm.entrypoints.openai.api_server", "--enable-prefix-caching", "--enforce-eager", *words]


def _environment(threads: int) -> dict[str, str]:
    """Without this package's own path, and with as many threads as ours has."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    vllm = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    return {**kept, "OMP_NUM_THREADS": str(threads), **vllm}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _tree(pid: int) -> Iterator[Path]:
    """The /proc folder of a process, and of all that came of it and live."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    family, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in family} - family
        family, grown = family | more, bool(more)
    yield from (Path("/proc") / str(member) for member in family)


def seconds(pid: int) -> float:
    """Processor seconds of a process and of all that came of it and live."""
    ticks = 0
    for folder in _tree(pid):
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """The most bytes that a process and each of those that came of it held, added up."""
    lines = [line for folder in _tree(pid) for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM")]
    return sum(int(line.split()[1]) * 1024 for line in lines)
