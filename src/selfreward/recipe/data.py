"""Tables of a recipe: the seed data and its sources, and the way from people's rankings to EFT."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from selfreward.recipe.fields import Located, Section, Share, off, packaged

ColumnName = Literal[
    "prompt", "response", "responses", "ranks", "scores", "text", "rank", "score", "chosen", "rejected", "system", "messages",
    "role", "content", "instruction", "input", "output",
]  # fmt: skip


class SourceConfig(Section):
    """A source of rows, and their format. A path alone stands for `{ path = … }`."""

    path: Located
    """A file (.jsonl, .json, .csv, .tsv, .parquet, .arrow; also .gz, .bz2, .xz, .zst), or a dataset by hub id or folder."""
    format: Literal["records", "oasst", "messages", "alpaca", "columns"] = "records"
    """Rows as this program writes them; Open Assistant message trees; chat `messages`; Alpaca's fields; or named `columns`."""
    columns: dict[ColumnName, str] = Field({})
    """Our name for a column, or for a part of an object in it → the rows' own name, where they differ."""
    subset: str | None = None
    """The configuration of a dataset."""
    split: str = "train"
    """The split of a dataset."""
    language: str | None = None
    """Open Assistant: only trees in this language (`en` in the paper)."""
    limit: int | None = Field(None, ge=1)
    """Most rows to use, drawn by the run's seed; 3,200 IFT examples in the paper. For IFT and `rankings` they are drawn from the
    rows left when prompts to be measured on, and for `rankings` those of IFT, are taken out."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.language and self.format != "oasst":
            raise ValueError('language works only with format = "oasst": other rows do not state theirs')
        if self.columns and self.format in ("records", "oasst"):
            raise ValueError(f"columns have no meaning for {self.format}, whose names are fixed")
        return self


class SeedConfig(Section):
    """Seed data: people's examples, and the held-out part for measuring."""

    ift: SourceConfig
    """Examples of following instructions."""
    eft: SourceConfig | None = None
    """Examples of judging, ready made."""
    rankings: SourceConfig | None = None
    """Responses ranked by people, from which the SFT baseline makes EFT and its held-out part (`[eft]`)."""
    heldout_prompts: SourceConfig | None = None
    """Prompts on which instruction following is measured; never trained on. Not given: split from `ift`."""
    heldout_rankings: SourceConfig | None = None
    """Responses ranked by people, on which judging is measured. Not given: split from `rankings`."""
    heldout: int = Field(256, ge=1)
    """Number of prompts split from `ift` where `heldout_prompts` is not given; the paper tests on 256."""
    skip_bad_rows: bool = False
    """Count and list rows that do not fit their format, instead of ending with an error."""

    @model_validator(mode="after")
    def _one_eft(self) -> Self:
        if self.eft and self.rankings:
            raise ValueError("give either eft or rankings, from which EFT is made; for measuring, give heldout_rankings")
        return self


class EFTConfig(Section):
    """EFT made of people's rankings (paper, section 2.1 and 3.1), or of rankings that the SFT baseline makes."""

    by: Literal["people", "self"] = off("people")
    """The maker of the rankings. `self` (Self-Taught Evaluators, arXiv 2408.02666): IFT's answer to a prompt is above the SFT
    baseline's answer to a prompt that the baseline changed; neither `data.eft` nor `data.rankings` is given then."""
    prompts: int | None = off(None)
    """With `self`, most of IFT's prompts to use, drawn by the run's seed."""
    change: Located | None = off(None)
    """With `self`, the text with the slot {prompt} that asks for a changed prompt; not given, a text that comes with the package.
    """
    tries: int = Field(4, ge=1)
    """Judgments that the SFT baseline writes of each response; the paper does not say."""
    agree: Literal["one", "mean"] = "one"
    """The ranking that must agree with people's: the ranking by `one` of the tries as a whole, or by the `mean` of all."""
    commonest: Share = 0.4
    """The commonest score is thinned out to at most this share of the examples; the paper does not say."""
    heldout: Share = 0.25
    """Share of the ranked prompts kept for measuring where `data.heldout_rankings` is not given; 541 of 2,171 responses in
    the paper."""

    @property
    def change_rubric(self) -> str:
        """The file that asks for a changed prompt."""
        return self.change or packaged("recipe/rubrics/changed_instruction.txt")

    @model_validator(mode="after")
    def _of_its_own(self) -> Self:
        if self.by == "people" and (self.prompts is not None or self.change is not None):
            raise ValueError('prompts and change work only with by = "self"')
        if self.prompts is not None and self.prompts < 1:
            raise ValueError("prompts must be at least 1")
        return self
