"""What the log and Events say of changed definitions."""

from collections.abc import Sequence

from schemas.configuration import Definitions
from schemas.faults import Fault

_MAX_FAULTS = 20
"""How many faults are told; `slimfaas-jobs validate` shows all."""

_MAX_FAULT_LENGTH = 500
"""How many characters of one fault are told."""


def describe_faults(faults: Sequence[Fault]) -> str:
    """Return the faults on one line. A pointer has names from the document, which must not start a line of the log."""
    shown = "; ".join(str(fault)[:_MAX_FAULT_LENGTH] for fault in faults[:_MAX_FAULTS])
    shown = "".join(character if character.isprintable() else "?" for character in shown)
    return shown + (f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else "")


def describe_changes(before: Definitions, after: Definitions) -> str:
    """Name the definitions that are new, changed or gone."""
    parts = {
        "new": [name for name in after if name not in before],
        "changed": [name for name, definition in after.items() if before.get(name, definition) != definition],
        "gone": [name for name in before if name not in after],
    }
    return ", ".join(f"{what} {' '.join(names)}" for what, names in parts.items() if names) or "no definition differs"
