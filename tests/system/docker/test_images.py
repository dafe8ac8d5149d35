"""What goes into a local image; no daemon needed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from brokerbench.bench.engines import local_images

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="images are made from a Linux host's own binaries")


def test_a_link_is_kept_with_all_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "versions" / "1").mkdir(parents=True)
    (tmp_path / "versions" / "1" / "program").write_bytes(b"#!")
    (tmp_path / "current").symlink_to("versions/1")
    (tmp_path / "start").symlink_to(tmp_path / "current" / "program")

    steps = list(local_images.resolution(tmp_path / "start"))

    assert steps == [tmp_path / "start", tmp_path / "current", tmp_path / "versions" / "1" / "program"]


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert set(local_images.resolution(tmp_path / "a")) == {tmp_path / "a", tmp_path / "b"}


def test_a_python_environment_runs_in_its_image_and_nowhere_else(tmp_path: Path) -> None:
    """The archive, unpacked, is a root file system: change into it and import something with a shared library."""
    # An administrator's program: not on every PATH.
    chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if os.geteuid() != 0 or chroot is None:
        pytest.skip("chroot needs root")
    roots = local_images.python_roots(Path(sys.prefix))
    interpreter = [root for root in roots if root != Path(sys.prefix)]
    archive = io.BytesIO()
    local_images.write_archive(local_images.closure(interpreter), archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(tmp_path, filter="fully_trusted")
    program = interpreter[0]

    answer = subprocess.run(
        [chroot, tmp_path, program, "-c", "import ssl, sqlite3, zoneinfo; print(zoneinfo.ZoneInfo('GMT'))"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (answer.returncode, answer.stdout) == (0, "GMT\n"), answer.stderr


def test_the_digest_follows_the_files(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"one")
    first = local_images.digest([program])
    assert local_images.digest([program]) == first

    program.write_bytes(b"three")
    assert local_images.digest([program]) != first


def test_caches_and_tests_of_libraries_are_left_out(tmp_path: Path) -> None:
    for name in ("kept", "__pycache__", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    assert list(local_images.walk(tmp_path)) == [tmp_path / "kept" / "file"]


@pytest.mark.skipif(shutil.which("ldd") is None, reason="no ldd here")
def test_a_dynamic_program_brings_its_loader_and_c_library() -> None:
    names = {path.name for path in local_images.closure([Path(sys.executable)])}

    assert "libc.so.6" in names
    assert any(name.startswith("ld-linux") for name in names)
