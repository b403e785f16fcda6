"""Runs the penstock binary for tests: PENSTOCK_BINARY names it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# A build folder may be outside of the tree, where the program does not find these by itself.
TEXT_HELPER = {
    "PENSTOCK_TEXT_HELPER": str(Path(__file__).resolve().parents[1] / "scripts" / "text_helper.py"),
    "PENSTOCK_PYTHON": sys.executable,
}


@dataclass
class Result:
    code: int
    out: str
    err: str


def penstock(*arguments: str, cwd: Path, expect: int = 0, env: dict | None = None) -> Result:
    """Runs the command; fails with its output when the exit code is not `expect`."""
    binary = os.environ["PENSTOCK_BINARY"]
    done = subprocess.run(
        [binary, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=240,
        env={**TEXT_HELPER, **os.environ, **(env or {})},
    )
    assert done.returncode == expect, f"exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}"
    return Result(done.returncode, done.stdout, done.stderr)


def penstock_json(*arguments: str, cwd: Path) -> dict:
    return json.loads(penstock(*arguments, "--json", cwd=cwd).out)


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
