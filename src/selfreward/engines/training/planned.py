"""TRL's trainers on batches that were planned: every example counts the same in its step, and the reference has its say once."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object, send_to_device
from datasets import Dataset
from transformers import Trainer
from trl.trainer import dpo_trainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from selfreward.engines.training.batches import Batches, packed
from selfreward.engines.training.reading import read_thriftily
from selfreward.engines.training.rehearsal import Rehearsal
from selfreward.engines.training.rows import GIVEN, Given, pair_lengths
from selfreward.engines.training.sharing import Filled, examples_at, uneven
from selfreward.records import readable, write_whole

REFERENCE = "reference.json"
"""A file beside the checkpoints: the reference's [log-prob of chosen, log-prob of rejected] of every pair, in their order."""
INFERENCE = 4
"""Tokens that fit in memory while nothing is learnt, to one in a batch of a training: no layer's activations are kept for
the backward pass, and neither gradients nor the optimizer are there yet."""


class Planned(Trainer):
    """Takes its batches as planned."""

    batches: Batches
    batch_size: int

    def _get_train_sampler(self, *_: object) -> Any:
        return Filled(self.batches, self.args.per_device_train_batch_size, self.accelerator.num_processes, self._epoch)

    def _epoch(self) -> int:
        return int(self.state.global_step) // math.ceil(len(self.batches) / self.batch_size)

    def _send_telemetry(self) -> None:
        """Send TRL's makers nothing; by itself every trainer of theirs reports its model, device and data once."""

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """A learning rate whose cosine ends at the last step, not one after it."""
        return super().create_scheduler(max(num_training_steps - 1, 1), optimizer)


class PlannedSFTTrainer(Planned, SFTTrainer):
    """TRL's SFT trainer on planned batches."""


class Weighed:
    """A model whose learning from each pair of a pass is weighed; the losses that are told stay those of the pairs themselves.

    A pair's loss depends on its own log-probabilities alone, so that to weigh their gradients is to weigh the loss.
    """

    def __init__(self, model: Any, weights: torch.Tensor) -> None:
        self._model, self._weights = model, weights

    def __call__(self, **inputs: Any) -> Any:
        """The output of the model, the chosen responses first."""
        output = self._model(**inputs)
        weights = self._weights.repeat(2)[:, None].to(output.log_probs.dtype)
        output["log_probs"] = weights * output.log_probs + (1 - weights) * output.log_probs.detach()
        return output


class PlannedDPOTrainer(Planned, DPOTrainer):
    """TRL's DPO trainer on planned batches, with rows of token ids and a reference that is computed once."""

    data_collator: Any
    _signature_columns: Any
    loss_is_scaled_for_ga = True
    """Tells TRL's trainer that `compute_loss` returns a part of the step's loss, not to be divided again."""

    def __init__(self, *given: Any, rehearsal: Rehearsal | None = None, **named: Any) -> None:
        """Set TRL's trainer up without hashing all weights for the name of a cache that is not used here."""
        self.rehearsal, self._forward = rehearsal, (-1, 0)
        name = dpo_trainer.hash_module
        dpo_trainer.hash_module = lambda _: ""
        try:
            super().__init__(*given, **named)
        finally:
            dpo_trainer.hash_module = name

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset

    def compute_loss(self, model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> torch.Tensor:
        """The part of a pass in the loss of its step, in which every pair has equal weight, with that of what is rehearsed."""
        pairs, processes = inputs.pop("pairs"), self.accelerator.num_processes
        step = examples_at(self.state.global_step, len(self.batches), self.batch_size)
        if pairs and "sft" in self.loss_types:
            self._weigh_likelihood(int(inputs["completion_mask"].chunk(2)[0].sum()), pairs / step)
        weights = inputs.pop("weights", None)
        weighed = model if weights is None else Weighed(model, weights)
        with uneven(self.accelerator, pairs) if step < self.batch_size else nullcontext():
            loss: torch.Tensor = super().compute_loss(weighed, inputs, *more, **named)
        share = pairs * processes / step  # of the processes' losses the mean is taken
        loss = loss * share if pairs else loss.nan_to_num() * 0
        return loss + self._rehearsed(model, step) if self.rehearsal else loss

    def _rehearsed(self, model: Any, pairs: int) -> torch.Tensor | float:
        """The part of a pass in the loss of what is rehearsed beside the `pairs` of its step."""
        assert self.rehearsal
        now, processes = int(self.state.global_step), self.accelerator.num_processes
        step, passes_before = self._forward
        which = passes_before if step == now else 0
        self._forward = (now, which + 1)
        passes = math.ceil(pairs / (self.args.per_device_train_batch_size * processes))
        share = self.accelerator.process_index, processes
        return self.rehearsal.loss(model, now, (which, passes), share, self.accelerator.device)

    def _weigh_likelihood(self, tokens: int, share: float) -> None:
        """Weight the chosen responses' likelihood so that each token of its step counts the same; `share`: of its pairs.

        TRL takes the mean over the `tokens` of a pass, which would depend on the division of a step into passes.
        """
        at = self.loss_types.index("sft")
        self.loss_weights = [*self.args.loss_weights]
        self.loss_weights[at] *= tokens / self._chosen_tokens() / share

    def _chosen_tokens(self) -> int:
        """Tokens of the chosen responses of this step, over all processes."""
        before = self.state.global_step % math.ceil(len(self.batches) / self.batch_size) * self.batch_size
        order = [at for batch in self.batches.of(self._epoch()) for at in batch]
        rows = (self.train_dataset[at] for at in order[before : before + self.batch_size])
        return sum(len(row["chosen_ids"]) - row.get(GIVEN[0], 0) for row in rows)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*dict.fromkeys([*self._signature_columns, *GIVEN, "weight"])]

    def _precompute_ref_logps(self, dataset: Dataset, *_: object) -> Dataset:
        """Rows with the reference's log-probs; TRL would compute them in training's batches and leave dropout as it is."""
        self.data_collator = Given(self.data_collator)
        longest = max([max(pair_lengths(row)) for row in dataset] + ([self.rehearsal.longest] if self.rehearsal else []))
        for model in filter(None, (self.model, self.ref_model)):
            read_thriftily(model, longest)
        file = Path(str(self.args.output_dir)) / REFERENCE
        if not file.exists():
            logps = self._reference_log_probs(dataset)
            if self.accelerator.is_main_process:
                write_whole(file, json.dumps(logps))
        else:
            logps = json.loads(readable(file).read_text())
        chosen, rejected = zip(*logps, strict=True)
        return dataset.add_column("ref_chosen_logps", chosen).add_column("ref_rejected_logps", rejected)

    @torch.inference_mode()
    def _reference_log_probs(self, dataset: Dataset) -> list[list[float]]:
        """[log-prob of chosen, log-prob of rejected] of every row."""
        model = self.ref_model or self.model
        model.eval()
        lengths = [pair_lengths(row) for row in dataset]
        largest = self.args.per_device_train_batch_size * 2 * max(map(max, lengths))
        numbered: list[tuple[int, list[float]]] = []
        with self.accelerator.split_between_processes(packed(lengths, INFERENCE * largest), apply_padding=True) as batches:
            for batch in batches:
                inputs = send_to_device(self.data_collator([dataset[at] for at in batch]), self.accelerator.device)
                logps = torch.stack(self.compute_ref_log_probs(model, inputs), dim=1).tolist()
                numbered += zip(batch, logps, strict=True)
        by_row = dict(gather_object(numbered))
        return [by_row[at] for at in range(len(dataset))]
