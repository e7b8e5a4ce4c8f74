"""A call that a writer makes for a run: to admit it, to fence it, or to read it."""

from enum import Enum
from typing import NamedTuple

from app.dispatcher.intent import Pin
from app.domain.run import Run

PROMPT_WRITERS = 4
"""How many prompt writes are made at the same time."""

SLOW_WRITERS = 4
"""How many slow writes are made at the same time, in addition to the prompt ones. So a failing definition takes no
prompt writer away from others. The same number of runs of failing definitions may be in the intent and wait for a
writer."""


class Purpose(Enum):
    """What a call about a run is for."""

    ADMIT = "admit"
    """Start the run, or hand it to Kueue."""
    FENCE = "fence"
    """Change the run's version and nothing else, so that an admission of the earlier version conflicts."""
    READ = "read"
    """Read the run: a write conflicted, and the watch has not shown why."""


class Write(NamedTuple):
    """A call to be made for a run.

    Attributes:
        purpose: what the call is for.
        pin: the run, in the version that the call carries.
        definition: the name of the run's definition.
        name: the name of the run's Job.
        term: the number of the term in which it was chosen.
        gates_left: if an admission hands the run to Kueue, the gates of other controllers; `None`: it starts the run.
    """

    purpose: Purpose
    pin: Pin
    definition: str
    name: str
    term: int
    gates_left: str | None = None

    @property
    def hands_to_kueue(self) -> bool:
        """Whether this is an admission after which Kueue decides when the run starts."""
        return self.gates_left is not None


def pin_of(run: Run) -> Pin:
    """Return the pin of a run as it is known."""
    return Pin(run.uid, run.resource_version)
