"""A portable package moved elsewhere and started in a clean environment: PENSTOCK_PACKAGE names it
(build/portable/package after `scripts/build.sh portable`). Not a part of every run, because that build compiles
everything a second time."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = os.environ.get("PENSTOCK_PACKAGE")
TORCH = next((Path(path) / "torch" for path in sys.path if (Path(path) / "torch" / "version.py").is_file()), None)
MOST_BYTES = 64 << 20
EXIT_DEVICE = 70
CONFIG = """\
path: data.txt
hidden_size: 32
intermediate_size: 64
num_hidden_layers: 2
num_attention_heads: 2
max_seq_len: 64
max_steps: 5
max_new_tokens: 8
backend: host
"""

pytestmark = pytest.mark.skipif(not PACKAGE, reason="PENSTOCK_PACKAGE names no portable package")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "carried"
    shutil.copytree(PACKAGE, folder)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "data.txt").write_text("some text to train on\n" * 200)
    return folder


def start(package, *arguments, **environment):
    """Nothing of this machine's environment but what is given; the PATH has no Python of its own."""
    empty = package.parent / "empty"
    empty.mkdir(exist_ok=True)
    return subprocess.run([package / "penstock", *arguments], capture_output=True, text=True, check=False, cwd=package,
                          env={"PATH": str(empty), **{name: str(value) for name, value in environment.items()}})


def refused(result):
    assert result.returncode == EXIT_DEVICE, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: this program needs torch ")
    return line


def test_it_is_small():
    assert sum(path.stat().st_size for path in Path(PACKAGE).rglob("*") if path.is_file()) < MOST_BYTES


def test_it_names_no_path_of_this_machine():
    for program in Path(PACKAGE).glob("*-bin"):
        assert str(Path(sys.prefix)).encode() not in program.read_bytes(), program.name


def test_it_needs_nothing_but_torch_cuda_and_the_system():
    allowed = re.compile(r"lib(torch|c10|cudart).*|lib(stdc\+\+|gcc_s|c|m|dl|rt|pthread)\.so.*|ld-linux.*")
    carried = {path.name for path in (Path(PACKAGE) / "lib").glob("*")}
    for program in Path(PACKAGE).glob("*-bin"):
        text = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
        assert needed
        assert [name for name in needed if not allowed.fullmatch(name) and name not in carried] == []
        assert set(re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", text)) <= {"$ORIGIN/lib"}


@pytest.mark.parametrize("arguments, needle", [(["--help"], "train"), (["plan", "config.yaml"], "weight slots")])
def test_verbs_run_with_a_named_torch(package, arguments, needle):
    result = start(package, *arguments, PENSTOCK_TORCH_DIR=TORCH)
    assert result.returncode == 0, result.stderr
    assert needle in result.stdout


@pytest.mark.parametrize("way", ["named", "virtual_environment", "path", "beside"])
def test_it_trains_however_torch_is_found(package, way, tmp_path):
    environment = {
        "named": {"PENSTOCK_TORCH_DIR": TORCH},
        "virtual_environment": {"VIRTUAL_ENV": sys.prefix},
        "path": {"PATH": f"{sys.prefix}/bin"},
        "beside": {},
    }[way]
    if way == "beside":
        (package / "torch").symlink_to(TORCH)
        (package / "nvidia").symlink_to(TORCH.parent / "nvidia")
    try:
        result = start(package, "train", "config.yaml", f"output_dir={tmp_path / 'run'}", **environment)
    finally:
        for name in ("torch", "nvidia"):
            (package / name).unlink(missing_ok=True)
    assert result.returncode == 0, result.stderr
    losses = [json.loads(line).get("loss") for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len([loss for loss in losses if loss is not None]) == 5
    # The printed commands name what the user has started.
    assert "penstock-bin" not in result.stdout + result.stderr


def test_without_torch_it_is_refused(package):
    assert "no Python here has torch" in refused(start(package, "--help"))


def test_another_version_is_refused(package, tmp_path):
    fake = tmp_path / "torch"
    shutil.copytree(TORCH / "lib", fake / "lib", symlinks=True, copy_function=os.symlink)
    (fake / "version.py").write_text("__version__ = '2.10.0+cu130'\n")
    assert f"{fake} is torch 2.10.0" in refused(start(package, "--help", PENSTOCK_TORCH_DIR=fake))
