"""The lock that guards what the leader knows, and the signal that something has changed."""

from threading import Event, RLock


class ChangeSignal:
    """What the stores share with their readers: one lock, and a signal that something has changed."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._event = Event()

    def notify(self) -> None:
        """Wake the reader, or have its next wait return at once."""
        self._event.set()

    def wait(self, timeout_seconds: float) -> None:
        """Wait for a signal."""
        self._event.wait(timeout_seconds)
        self._event.clear()
