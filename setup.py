"""What setup.cfg cannot say: the README's links, which are relative, lead from a package index into the repository."""

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def make_links_absolute(readme: str, repository: str, version: str) -> str:
    """Point the relative links of a README into a repository, at the tag of a version.

    Args:
        readme: Markdown, with HTML in it or not.
        repository: the address of the repository on GitHub.
        version: without the leading `v` of the tag.
    """
    pages, files = (f"{repository}/{kind}/v{version}/" for kind in ("blob", "raw"))
    relative = r"(?![a-z]+:|/)(?:\./)?"
    readme = re.sub(r"(\]\(|href=\")(?=#)", rf"\1{pages}README.md", readme)
    readme = re.sub(rf"(!\[[^]]*\]\(|src=\"){relative}", rf"\1{files}", readme)
    return re.sub(rf"(\]\(|href=\"){relative}", rf"\1{pages}", readme)


def read_description() -> str:
    """Return the README as a package index should show it."""
    settings = ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg", "utf-8")
    metadata = settings["metadata"]
    return make_links_absolute((ROOT / "README.md").read_text("utf-8"), metadata["url"], metadata["version"])


if __name__ == "__main__":
    from setuptools import setup

    setup(long_description=read_description(), long_description_content_type="text/markdown")
