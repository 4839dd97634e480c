"""An engine for actors, in a file of its own that is quickly loaded."""

import time

from selfreward.engines.protocols import untold
from selfreward.errors import OutOfMemory, SelfRewardError
from selfreward.records import Completion


class Picky:
    """An engine of eight requests a batch, in which one thing goes wrong: as long as there are several of them, "pippin"."""

    def __init__(self, streams=False, unreadable=False):
        if unreadable:
            raise SelfRewardError("cannot be loaded", "somewhere", "Give another")
        self.streams, self.prepared = streams, 0

    def batches(self, requests):
        return [list(range(start, min(start + 8, len(requests)))) for start in range(0, len(requests), 8)]

    def prepare(self, requests):
        self.prepared = len(requests)

    def generate(self, batch):
        if len(batch) > 1 and any(request.messages[-1].content == "pippin" for request in batch):
            raise OutOfMemory(f"of {len(batch)}")
        for request in reversed(batch):
            text = f"{request.index} {self.prepared}"
            yield Completion(request_id=request.id, text=text, finish="stop", prompt_tokens=1, completion_tokens=1)

    def close(self):
        pass


class Patient(Picky):
    """Takes its time for every answer, and tells a token of each."""

    tell = staticmethod(untold)

    def generate(self, batch):
        for request in batch:
            time.sleep(1.1)
            yield Completion(request_id=request.id, text="early", finish="stop", prompt_tokens=1, completion_tokens=1)
            self.tell(1)
