"""A headless Chromium, driven by Playwright. `make browser` installs both."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_browser() -> str | None:
    """Return the path of Chromium; `None`: there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def has_browser() -> bool:
    """Return whether Chromium and Playwright are installed."""
    return (
        find_browser() is not None
        and find_spec("playwright") is not None
        and find_spec("axe_playwright_python") is not None
    )


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start Chromium; yields Playwright's `Browser`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()
