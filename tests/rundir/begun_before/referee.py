"""A judge outside the loop, which both builds can import."""

import random

from selfreward.records import Completion


class Referee:
    """Prefers one of two answers by the seed of the request."""

    def batches(self, requests):
        return [list(range(len(requests)))]

    def prepare(self, requests):
        pass

    def generate(self, batch):
        for request in batch:
            text = f"Verdict: {random.Random(request.seed).choice(('first', 'second'))}"
            yield Completion(request_id=request.id, text=text, finish="stop", prompt_tokens=0, completion_tokens=0)

    def close(self):
        pass
