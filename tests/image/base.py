"""A file tree that replaces the base image: this machine's Python under `/usr/local`, a shell and a few tools.

The tests need neither a registry nor a container engine, because they test the Dockerfile and not its base. Like
`python:3.13-slim`, the tree has pip, and no byte code, compiler or tests.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""The variables of the official image."""

_TOOLS = ("sh", "rm", "find", "sleep")
_ESSENTIAL_LIBRARIES = (
    *("libgcc_s.so.1", "libstdc++.so.6", "libm.so.6"),
    *("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1"),
)
"""Libraries that every Debian has and that wheels rely on."""

_LEFT_OUT = ("test", "tests", "idle_test", "__pycache__", "*.pyc", "config-*", "libpython*.a", "site-packages")


def make_base(tree: Path) -> None:
    """Create the tree; it must not exist yet."""
    for folder in ("usr/local/bin", "etc", "tmp", "proc", "dev/shm", "run", "var/run"):
        (tree / folder).mkdir(parents=True)
    for link in ("bin", "lib", "lib64"):
        (tree / "usr" / link).mkdir(exist_ok=True)
        (tree / link).symlink_to(f"usr/{link}")
    (tree / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n"
    )
    (tree / "tmp").chmod(0o1777)
    python = _copy_python(tree / "usr" / "local")
    tools = [_copy_tool(tree, name) for name in _TOOLS]
    _copy_libraries(tree, [*python, *tools])


def _copy_python(prefix: Path) -> list[Path]:
    """Copy the interpreter, its library and pip; return the files that need shared libraries."""
    version = sysconfig.get_python_version()
    library = prefix / "lib" / f"python{version}"
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
    (library / "site-packages").mkdir(exist_ok=True)
    program = prefix / "bin" / f"python{version}"
    shutil.copy2(os.path.realpath(sys.executable), program)
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(program.name)
    for shared in Path(sys.base_prefix, "lib").glob("libpython*.so*"):
        shutil.copy2(shared, prefix / "lib" / shared.name, follow_symlinks=False)
    _install_pip(prefix, library / "site-packages")
    return [program, *library.rglob("*.so"), *prefix.joinpath("lib").glob("libpython*.so*")]


def _install_pip(prefix: Path, site_packages: Path) -> None:
    """Copy the pip of this environment into the tree."""
    import pip

    package = Path(pip.__file__).parent
    for source in (package, *package.parent.glob("pip-*.dist-info")):
        shutil.copytree(source, site_packages / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    script = prefix / "bin" / "pip"
    script.write_text("#!/usr/local/bin/python\nfrom pip._internal.cli.main import main\n\nraise SystemExit(main())\n")
    script.chmod(0o755)


def _copy_tool(tree: Path, name: str) -> Path:
    found = shutil.which(name, path="/bin:/usr/bin")
    assert found is not None, f"{name} is not installed on this machine"
    copied = tree / "usr" / "bin" / name
    shutil.copy2(os.path.realpath(found), copied)
    return copied


def _copy_libraries(tree: Path, programs: Iterable[Path]) -> None:
    """Copy the shared libraries of programs to the same paths in the tree."""
    known = [Path(folder) / name for folder in _library_folders() for name in _ESSENTIAL_LIBRARIES]
    essential = [path for path in known if path.exists()]
    programs = [*programs, *essential]
    listed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    listed += "".join(f"=> {path} (0x0)\n" for path in essential)
    for library in sorted(set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listed, re.MULTILINE))):
        if library.startswith(str(tree)):
            continue
        target = tree / _below_usr(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy2(os.path.realpath(library), target)


def _library_folders() -> list[str]:
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    return [f"/usr/lib/{multiarch}", f"/lib/{multiarch}", "/usr/lib64", "/lib64"]


def _below_usr(path: str) -> str:
    """Return the relative path in a tree whose `/lib` and `/lib64` are links into `/usr`."""
    return re.sub(r"^/(lib|lib64|bin)/", r"usr/\1/", path).lstrip("/")
