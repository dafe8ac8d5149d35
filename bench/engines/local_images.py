"""Docker images made from files of this host, for a machine that cannot pull any.

An image holds the files that a native engine runs on, at the same paths as here, so that virtual
environments and runtimes work unmoved: the given files and directories, the symbolic links that lead
to them, the shared libraries that they load (``ldd``), and a shell. It is tagged
``brokerbench.local/<name>:<version>-<digest>``; the digest covers the path, size, mode and time of every
file, so an image is built again exactly when a file changed. Linux only: a container runs this host's binaries.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError

REPOSITORY = "brokerbench.local"
SHELL = Path("/bin/sh")
# Loaded at run time by name (thread cancellation in C, locale data in none): ldd does not see it.
LATE_LIBRARIES = ("libgcc_s.so.1",)
# Never used by an engine, and most of the size of a standard library.
SKIPPED = frozenset({"__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"})
INSTALLED = frozenset({"site-packages", "dist-packages"})
STANDARD_LIBRARY = (
    "import json, sysconfig; stdlib = sysconfig.get_path('stdlib'); "
    "print(json.dumps([stdlib, sysconfig.get_config_var('DESTSHARED') or stdlib]))"
)
TIME_ZONES = Path("/usr/share/zoneinfo")  # data that Python reads from the host; may be a package instead
ETC = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": b"root:x:0:\n",
    "etc/nsswitch.conf": b"hosts: files dns\n",
}


@dataclass(frozen=True, slots=True)
class LocalImage:
    """Contents of a local image. ``roots``: files and directories, copied whole."""

    name: str
    version: str
    roots: tuple[Path, ...]


def python_roots(environment: Path) -> tuple[Path, ...]:
    """A virtual environment, its interpreter and that interpreter's standard library (not its site-packages)."""
    python = environment / "bin" / "python"
    answer = subprocess.run([python, "-I", "-c", STANDARD_LIBRARY], check=True, capture_output=True, text=True)
    standard = {Path(path) for path in json.loads(answer.stdout)}
    found = (environment, python.resolve(), *sorted(standard), TIME_ZONES)
    return tuple(path for path in found if path.exists())


def build(client: docker.DockerClient, image: LocalImage) -> str:
    """The tag of an image of these files, built now unless the daemon has it. Older ones of its name go."""
    files = closure(image.roots)
    repository, tag = f"{REPOSITORY}/{image.name}", f"{image.version}-{digest(files)}"
    wanted = f"{repository}:{tag}"
    if wanted in tags(client, image.name):
        return wanted
    with tempfile.TemporaryFile(prefix="brokerbench-image-") as archive:
        write_archive(files, archive)
        archive.seek(0)
        # Unlike its siblings, this call sets no time limit and takes an open file.
        client.api.import_image_from_data(archive, repository=repository, tag=tag)
    for old in tags(client, image.name):
        if old != wanted:
            remove(client, old)
    return wanted


def tags(client: docker.DockerClient, name: str) -> list[str]:
    """Tags of all local images of one engine."""
    repository = f"{REPOSITORY}/{name}"
    return [tag for found in client.images.list(name=repository) for tag in found.tags if tag.startswith(repository)]


def remove(client: docker.DockerClient, tag: str) -> None:
    try:
        client.images.remove(tag)
    except APIError as refusal:
        if refusal.status_code not in (404, 409):  # gone already, or another run's container uses it
            raise


def closure(roots: Iterable[Path]) -> list[Path]:
    """Every path that an image needs, sorted: no path twice, links before their targets."""
    given = {path for root in (*roots, SHELL) for path in walk(root)}
    found = {step for path in given for step in resolution(path)}
    libraries = shared_libraries([path for path in found if is_elf(path)])
    found.update(step for library in libraries for step in resolution(library))
    return sorted(found)


def walk(root: Path) -> Iterator[Path]:
    """A file, or all files and links below a directory."""
    if not root.is_dir():
        yield root
        return
    for name, folders, names in os.walk(root):
        folder = Path(name)
        yield from (folder / name for name in names)
        yield from (folder / name for name in folders if (folder / name).is_symlink())
        is_standard_library = (folder / "os.py").exists() and (folder / "sysconfig.py").exists()
        skipped = SKIPPED | INSTALLED if is_standard_library else SKIPPED
        folders[:] = [name for name in folders if name not in skipped and not name.startswith("config-3")]


def resolution(path: Path) -> Iterator[Path]:
    """The real file that a path leads to, and each symbolic link on the way to it."""
    real = Path("/")
    pending = list(reversed(path.parts[1:]))
    links = 0
    while pending:
        step = pending.pop()
        if step == "..":
            real = real.parent
            continue
        entry = real / step
        if not entry.is_symlink():
            real = entry
            continue
        links += 1
        if links > 40:  # the kernel's own limit
            return
        yield entry
        target = entry.readlink()
        if target.is_absolute():
            real = Path("/")
        pending.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
    if real.is_file():
        yield real


def is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def shared_libraries(binaries: Sequence[Path]) -> set[Path]:
    """Libraries and loaders of these binaries as ``ldd`` resolves them. Static ones have none."""
    found: set[Path] = set()
    for start in range(0, len(binaries), 200):
        command: list[str | Path] = ["ldd", *binaries[start : start + 200]]
        environment = {**os.environ, "LC_ALL": "C"}
        answer = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        for line in answer.stdout.splitlines():
            words = line.split()
            candidate = words[2] if len(words) > 2 and words[1] == "=>" else words[0] if words else ""
            if candidate.startswith("/") and not candidate.endswith(":"):
                found.add(Path(candidate))
    beside = {library.parent for library in found if library.name.startswith("libc.so")}
    found.update(folder / name for folder in beside for name in LATE_LIBRARIES if (folder / name).exists())
    return found


def digest(files: Sequence[Path]) -> str:
    """Twelve hexadecimal digits that change when a file is added, removed or written."""
    state = hashlib.sha256()
    for path in files:
        facts = path.lstat()
        target = path.readlink() if stat.S_ISLNK(facts.st_mode) else ""
        state.update(f"{path}\0{facts.st_size}\0{facts.st_mode}\0{facts.st_mtime_ns}\0{target}\n".encode())
    return state.hexdigest()[:12]


def write_archive(files: Sequence[Path], archive: io.BufferedIOBase | tempfile._TemporaryFileWrapper[bytes]) -> None:
    """A root file system as tar; everything belongs to root, and /tmp is everyone's."""
    with tarfile.open(fileobj=archive, mode="w") as tar:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
        for name, content in ETC.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for path in files:
            tar.add(path, arcname=str(path).lstrip("/"), recursive=False, filter=owned_by_root)


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
