"""The models of a run by their role: the base, the prompt writer, the judge."""

from __future__ import annotations

from selfreward.engines import find_gguf, load_checkpoint, outside_model
from selfreward.recipe import JudgeConfig, PromptsConfig, Recipe
from selfreward.records import Checkpoint


class Cast:
    """The models of a run by their role."""

    def __init__(self, recipe: Recipe) -> None:
        self._servers = recipe.servers
        self._members: dict[str, Checkpoint] = {}
        self._outside: dict[str, Checkpoint] = {}
        if find_gguf(recipe.base) is None:
            self.join("M0", load_checkpoint("M0", recipe.base))

    @property
    def base(self) -> Checkpoint:
        """M0. One in a GGUF file joins when it is converted."""
        return self._members["M0"]

    def join(self, name: str, model: Checkpoint) -> Checkpoint:
        """Add a trained model under its name."""
        self._members[name] = model.model_copy(update={"name": name})
        return self._members[name]

    def go_back(self, name: str) -> None:
        """Remove the models that joined after `name`."""
        names = list(self._members)
        for later in names[names.index(name) + 1 :]:
            del self._members[later]

    def writer(self, config: PromptsConfig, model: Checkpoint) -> Checkpoint:
        """The model that writes new prompts."""
        if config.by == "current":
            return model
        return self.outside(config.frozen) if config.frozen else self.base

    def judges(self, config: JudgeConfig, model: Checkpoint) -> list[Checkpoint]:
        """The models that judge the candidates: a single one, except with a jury."""
        return [self._judge(name, model) for name in config.judges]

    def judge(self, config: JudgeConfig, model: Checkpoint) -> Checkpoint:
        """The model that judges the candidates; the first of a jury."""
        return self.judges(config, model)[0]

    def _judge(self, name: str, model: Checkpoint) -> Checkpoint:
        if name == "current":
            return model
        if name == "previous":
            return self.before(model) or model
        return self._members["M1"] if name == "frozen" else self.outside(name)

    @property
    def first(self) -> Checkpoint:
        """M1, the start of CREAM's likelihoods."""
        return self._members["M1"]

    def before(self, model: Checkpoint) -> Checkpoint | None:
        """The model one iteration before `model`; None before M1, for M0 was not taught to judge."""
        names = list(self._members)
        at = names.index(model.name) - 1
        return self._members[names[at]] if at else None

    def outside(self, name: str) -> Checkpoint:
        """A model from outside the loop, as the recipe names it; loaded or fetched once."""
        if name not in self._outside:
            self._outside[name] = outside_model(name, self._servers)
        return self._outside[name]
