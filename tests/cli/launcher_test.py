"""The launcher of portable builds: which torch it finds, what it refuses, how it starts the program. With fake torch
folders, fake Pythons and a shell script for a program, so that nothing of a portable build is needed."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = Path(os.environ["PENSTOCK_LAUNCHER"])
VERSION = os.environ["PENSTOCK_TORCH_VERSION"]
NEEDED = os.environ["PENSTOCK_NEEDED_LIBRARIES"].split(":")
EXIT_DEVICE = 70


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make_torch(folder, version=VERSION + "+cu130", without=None):
    """A folder torch as in site-packages; libcudart in NVIDIA's folder beside it, as the wheels have it."""
    torch = folder / "torch"
    (torch / "lib").mkdir(parents=True)
    (torch / "version.py").write_text(f"from typing import Optional\n\n__version__ = '{version}'\ndebug = False\n")
    nvidia = folder / "nvidia" / "cu13" / "lib"
    nvidia.mkdir(parents=True)
    for name in NEEDED:
        if name != without:
            ((nvidia if name.startswith("libcudart") else torch / "lib") / name).touch()
    return torch


@pytest.fixture
def package(tmp_path):
    """A carried folder whose program says how it was started, and an empty home of its Pythons."""
    folder = tmp_path / "package with a space"
    folder.mkdir()
    shutil.copy(LAUNCHER, folder / "penstock")
    write_program(folder / "penstock-bin",
                  'echo "path=$LD_LIBRARY_PATH"; for a in "$0" "$@"; do echo "[$a]"; done; exit 7\n')
    (tmp_path / "bin").mkdir()
    return folder


def fake_python(path, torch):
    """Answers any question with a folder, as a Python that has torch there; counts how often it was asked."""
    answer = f"echo '{torch}'" if torch else "true"
    write_program(path, f'echo x >> "{path}.asked"; [ "$1" = -c ] || exit 3\n{answer}\n')


def start(package, *arguments, **environment):
    return subprocess.run(
        [package / "penstock", *arguments], capture_output=True, text=True, check=False, cwd=package.parent,
        env={"PATH": f"{package.parent / 'bin'}:/usr/bin:/bin", **{k: str(v) for k, v in environment.items()}})


def started_with(result):
    """The library folders that the program was given."""
    assert result.returncode == 7, result.stderr
    assert result.stderr == ""
    return re.match(r"path=(.*)\n", result.stdout)[1].split(":")


def refused(result, *needles):
    assert result.returncode == EXIT_DEVICE, result.stdout + result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for needle in (VERSION, "PENSTOCK_TORCH_DIR", *needles):
        assert needle in line, line


def no_python(package):
    """Pythons without torch, in front of those of the system."""
    for name in ("python3", "python"):
        fake_python(package.parent / "bin" / name, None)


def test_a_named_folder_is_taken(package, tmp_path):
    torch = make_torch(tmp_path / "named")
    result = start(package, "train", "a b", "--x", PENSTOCK_TORCH_DIR=torch, LD_LIBRARY_PATH="/before")
    folders = started_with(result)
    assert folders == [str(torch / "lib"), str(tmp_path / "named/nvidia/cu13/lib"), "/before"]
    assert result.stdout.splitlines()[2:] == ["[train]", "[a b]", "[--x]"]


def test_a_relative_folder_is_made_absolute(package, tmp_path):
    make_torch(tmp_path / "named")
    assert started_with(start(package, PENSTOCK_TORCH_DIR="named/torch"))[0] == str(tmp_path / "named/torch/lib")


def test_a_folder_beside_the_program_comes_before_pythons(package, tmp_path):
    torch = make_torch(package)
    fake_python(tmp_path / "bin/python3", make_torch(tmp_path / "other"))
    assert started_with(start(package))[0] == str(torch / "lib")
    assert not (tmp_path / "bin/python3.asked").exists()


def test_the_virtual_environment_comes_before_the_path(package, tmp_path):
    torch = make_torch(tmp_path / "venv_packages")
    fake_python(tmp_path / "venv/bin/python", torch)
    fake_python(tmp_path / "bin/python3", make_torch(tmp_path / "other"))
    assert started_with(start(package, VIRTUAL_ENV=tmp_path / "venv"))[0] == str(torch / "lib")


def test_a_python_of_another_version_is_passed_over(package, tmp_path):
    torch = make_torch(tmp_path / "right")
    fake_python(tmp_path / "bin/python3", make_torch(tmp_path / "wrong", version="1.13.1+cu117"))
    fake_python(tmp_path / "bin/python", torch)
    assert started_with(start(package))[0] == str(torch / "lib")


def test_without_any_torch_it_is_refused(package):
    no_python(package)
    refused(start(package), "no Python here has torch")


@pytest.mark.parametrize("version", ["2.9.1+cu130", VERSION + "0", "", VERSION + ".post1"])
def test_another_version_is_refused(package, tmp_path, version):
    no_python(package)
    torch = make_torch(tmp_path / "named", version=version)
    refused(start(package, PENSTOCK_TORCH_DIR=torch), str(torch), version.split("+")[0])


def test_a_wrong_folder_that_is_named_is_not_passed_over(package, tmp_path):
    fake_python(tmp_path / "bin/python3", make_torch(tmp_path / "right"))
    refused(start(package, PENSTOCK_TORCH_DIR=tmp_path / "absent"), "absent", "version.py")


def test_what_was_seen_is_said(package, tmp_path):
    fake_python(tmp_path / "bin/python3", make_torch(tmp_path / "old", version="2.5.0"))
    fake_python(tmp_path / "bin/python", None)
    refused(start(package), "old/torch is torch 2.5.0")


@pytest.mark.parametrize("library", NEEDED)
def test_a_torch_without_a_library_is_refused(package, tmp_path, library):
    no_python(package)
    torch = make_torch(tmp_path / "named", without=library)
    refused(start(package, PENSTOCK_TORCH_DIR=torch), f"without {library}")


def test_a_python_that_fails_is_no_torch(package, tmp_path):
    make_torch(tmp_path / "right")
    write_program(tmp_path / "bin/python3", f"echo '{tmp_path}/right/torch'; exit 1\n")
    write_program(tmp_path / "bin/python", "kill -9 $$\n")
    refused(start(package), "no Python here has torch")


def test_a_real_python_is_asked_without_importing_torch(package, tmp_path):
    """With a venv's Python, whose torch cannot even be imported; the current folder does not count."""
    torch = make_torch(tmp_path / "packages")
    (torch / "__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    write_program(tmp_path / "bin/python3", f'PYTHONPATH="{tmp_path}/packages" exec "{sys.executable}" -S "$@"\n')
    assert started_with(start(package))[0] == str(torch / "lib")
    write_program(tmp_path / "bin/python3", f'exec "{sys.executable}" -S "$@"\n')
    fake_python(tmp_path / "bin/python", None)
    refused(start(package), "no Python here has torch")


def test_a_program_that_was_left_behind_is_named(package):
    (package / "penstock-bin").unlink()
    result = start(package)
    assert result.returncode == EXIT_DEVICE
    assert "penstock-bin is missing" in result.stderr
