"""Settings of the nightly pass."""

from dataclasses import dataclass
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class NightlySettings:
    """The time budget, what is kept, and who is notified."""

    hours: Annotated[float | None, "time budget of a pass; the next pass continues the night; null: none", Range(0)]
    keep_nights: Annotated[
        int | None, "finished nights that keep their models and candidate clips; null: all", Range(1)
    ]
    keep_refused: Annotated[int | None, "refused models that stay in the registry; null: all", Range(0)]
    webhook: Annotated[str | None, "address that receives the summary as JSON; it is not saved with a night"]
