#!/usr/bin/env python3
"""Does a compact state train as well as `exact`? The model of configs/quickstart.yaml on its real text, once in each
state format from the same seed: validation loss by step, and at the end as a ratio to `exact`. Goal: within 1%.

    bench/state_format_quality.py BUILD_DIR [--steps 700] [--formats exact compact compact8] [--seed 42] [--spread]

About five minutes a format on two quiet cores, evaluations included. The claim is made with the whole run; fewer
steps only try the script. --spread trains the first format with the next seed too: how far apart two runs end
that differ in nothing else, to read the goal beside. One run more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CURVE_POINTS = 7
GOAL = 0.01


def train(binary: Path, state_format: str, seed: int, arguments: argparse.Namespace,
          output: Path) -> dict[int, float]:
    """Validation loss by step."""
    overrides = [f"optimizer.state_format={state_format}", f"training.max_steps={arguments.steps}",
                 f"training.eval_steps={max(1, arguments.steps // CURVE_POINTS)}", f"training.seed={seed}",
                 "training.max_eval_tokens=65536",  # the same ones for all formats
                 "training.save_strategy=no", "generation.max_new_tokens=0", f"training.output_dir={output}"]
    done = subprocess.run(
        [binary, "train", "configs/quickstart.yaml", *overrides], cwd=REPOSITORY, capture_output=True, text=True,
        check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    if done.returncode != 0:
        sys.exit(f"{state_format} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["eval_loss"] for row in rows if "eval_loss" in row}
    seconds = sum(row.get("step_ms", 0) for row in rows) / 1e3
    print(f"  {state_format}, seed {seed}: {losses[max(losses)]:.4f} after {max(losses)} steps, {seconds:.0f} s",
          flush=True)
    return losses


def print_curves(curves: dict[str, dict[int, float]]) -> None:
    reference, *others = curves
    print(f"{'step':>6}" + "".join(f"{name:>10}" for name in curves) + "".join(f"{name + '/' + reference:>16}"
                                                                                 for name in others))
    for step in curves[reference]:
        losses = [curve[step] for curve in curves.values()]
        print(f"{step:6}" + "".join(f"{loss:10.4f}" for loss in losses) +
              "".join(f"{loss / losses[0]:16.4f}" for loss in losses[1:]))
    last = max(curves[reference])
    for name in others:
        ratio = curves[name][last] / curves[reference][last]
        verdict = "met" if ratio <= 1 + GOAL else "MISSED"
        print(f"{name}: {(ratio - 1) * 100:+.2f}% of {reference}'s validation loss, goal +{GOAL * 100:.0f}%: {verdict}")


def print_spread(reference: str, first: dict[int, float], second: dict[int, float]) -> None:
    last = max(first)
    print(f"{reference} with the next seed: {(second[last] / first[last] - 1) * 100:+.2f}%, goal of the others "
          f"+{GOAL * 100:.0f}%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--formats", nargs="+", default=["exact", "compact", "compact8"], help="the first one is 1")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--spread", action="store_true", help="the first format with a second seed too")
    arguments = parser.parse_args()
    binary = (arguments.build / "penstock").resolve()
    with tempfile.TemporaryDirectory() as root:
        curves = {name: train(binary, name, arguments.seed, arguments, Path(root) / name)
                  for name in arguments.formats}
        print_curves(curves)
        if arguments.spread:
            reference = arguments.formats[0]
            other = train(binary, reference, arguments.seed + 1, arguments, Path(root) / "other_seed")
            print_spread(reference, curves[reference], other)


if __name__ == "__main__":
    main()
