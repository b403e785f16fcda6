#!/usr/bin/env python3
"""The same training job on one GPU with Penstock and with its peers: one table out.

    bench/peers/run_peers.py --case qwen2.5-3b-16k                       Penstock, FSDP2 + offload, Hugging Face Trainer
    bench/peers/run_peers.py --case all --megatrain ../MegaTrain --llmq ../llmq --out rtx_4090
    bench/peers/run_peers.py --case smoke --device host                  tries the scripts without a card

Every peer gets the same shape, rows, tokens per step and sequence length, random weights and tokens, the same warm-up,
and counts by the median of the same number of steps. Weights are made on the spot; nothing is downloaded.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import random
import sys
import tempfile

from cases import CASES, COMMON_RULES, chosen_cases
from runners import RUNNERS, Skipped, median_tokens_per_second
from watched_process import nvidia_smi, run_watched, wait_until_free

BENCH = pathlib.Path(__file__).resolve().parents[1]
OUT_OF_MEMORY = ["out of memory", "OutOfMemory", "does not fit"]


def parse_arguments():
    names = [runner.name for runner in RUNNERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=["all", *CASES], default=["qwen2.5-3b-16k"])
    parser.add_argument("--peer", nargs="+", choices=names, default=names, help="default: all that can run")
    parser.add_argument("--device", choices=["cuda", "host"], default="cuda")
    parser.add_argument("--index", type=int, default=0, help="which card, as nvidia-smi counts (default 0)")
    parser.add_argument("--memory-gb", type=float, default=0, help="device memory for Penstock and the torch peers")
    parser.add_argument("--micro-batch-tokens", type=int, default=0, help="tokens of one forward (default: the case's)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before those that count (default 2)")
    parser.add_argument("--steps", type=int, default=5, help="steps that count (default 5)")
    parser.add_argument("--timeout", type=int, default=3600, help="seconds a peer may take for a case (default 3600)")
    parser.add_argument("--penstock", type=pathlib.Path, default=BENCH.parent / "build/release/penstock")
    parser.add_argument("--penstock-key", action="append", default=[], metavar="section.key=value")
    for name in ("megatrain", "llmq", "deepspeed"):
        parser.add_argument(f"--{name}", type=pathlib.Path, metavar="DIR", help=f"a checkout of {name}")
    parser.add_argument("--out", metavar="NAME", help="writes bench/results/NAME.json and NAME.txt")
    parser.add_argument("--results", type=pathlib.Path, default=BENCH / "results", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if min(arguments.warmup, arguments.steps) < 1:
        parser.error("--warmup and --steps must be at least 1")
    for name in ("penstock", "megatrain", "llmq", "deepspeed"):
        folder = getattr(arguments, name)
        setattr(arguments, name, folder.resolve() if folder else None)
    return arguments


def describe_machine(arguments):
    """What decides speed, and nothing that names the machine."""
    fields = dict(line.split(":", 1) for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in fields.items()}.get("model name", "unknown")
    ram_kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    machine = {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "ram_gib": round(ram_kib / 2**20)}
    query = "name,memory.total,driver_version,pcie.link.gen.max,pcie.link.width.max"
    cards = nvidia_smi(query, arguments.index) if arguments.device == "cuda" else []
    if cards:
        machine |= dict(zip(["card", "card_mib", "driver", "pcie_generation", "pcie_width"], cards[0]))
    return machine


def available_bytes():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


def check_fits(runner, case, machine):
    if runner.needs_card and "card" not in machine:
        raise Skipped("needs a card")
    if runner.device_bytes_per_parameter and "card" in machine:
        needed = case.parameters() * runner.device_bytes_per_parameter
        if needed > int(machine["card_mib"]) << 20:
            raise Skipped(f"needs {needed / 2**30:.0f} GiB on the device")
    needed = case.parameters() * runner.host_bytes_per_parameter
    if needed > available_bytes():
        raise Skipped(f"needs {needed / 2**30:.0f} GiB of RAM, {available_bytes() / 2**30:.0f} are free")


def write_rows(case, steps, path):
    """Uniform random tokens: the time of a step does not depend on them."""
    generator = random.Random(1)
    vocabulary = range(case.shape["vocab_size"])
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(case.rows_per_step * steps):
            file.write(json.dumps({"input_ids": generator.choices(vocabulary, k=case.sequence_length)}) + "\n")


def failure(outcome, limit):
    if outcome.code is None:
        return f"took more than {limit} s"
    lines = [line for line in (outcome.err + "\n" + outcome.out).splitlines() if line.strip()]
    short = next((line for line in lines if any(words in line for words in OUT_OF_MEMORY)), lines[-1] if lines else "")
    return f"exit code {outcome.code}: {short.strip()[:200]}"


def measure(arguments, runner, case, machine, rows, folder):
    check_fits(runner, case, machine)
    runner.check(case)
    index = arguments.index if "card" in machine else None
    environment = {"CUDA_VISIBLE_DEVICES": str(arguments.index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    environment |= runner.environment()
    outcome = run_watched(runner.command(case, folder, rows), folder, environment, index, arguments.timeout)
    wait_until_free(index, 2 << 30)
    if outcome.code != 0:
        raise Skipped(failure(outcome, arguments.timeout))
    seconds = runner.seconds(case, folder, outcome)
    speed = median_tokens_per_second(case, seconds, arguments.warmup, arguments.steps)
    return {"tokens_per_second": speed, "step_seconds": seconds, "device_peak_bytes": outcome.device_peak_bytes,
            "torch_reserved_bytes": getattr(runner, "reserved_bytes", 0), "host_peak_bytes": outcome.host_peak_bytes}


def run_case(arguments, case, machine):
    results = []
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        rows = pathlib.Path(name) / "rows.jsonl"
        write_rows(case, arguments.warmup + arguments.steps, rows)
        for kind in RUNNERS:
            if kind.name not in arguments.peer:
                continue
            folder = pathlib.Path(name) / kind.name
            folder.mkdir()
            result = {"case": case.name, "peer": kind.name, "state": kind.state}
            try:
                result |= measure(arguments, kind(arguments), case, machine, rows, folder)
            except Skipped as reason:
                result["skipped"] = str(reason)
            results.append(result)
            print(table_line(result, results), flush=True)
    return results


def table_line(result, results):
    head = f"  {result['peer']:16}{result['state']:28}"
    if "skipped" in result:
        return f"{head}skipped: {result['skipped']}"
    ours = next((other for other in results if other["peer"] == "penstock"), {}).get("tokens_per_second")
    ratio = f"{ours / result['tokens_per_second']:6.2f}x" if ours else " " * 7
    return (f"{head}{result['tokens_per_second']:10.0f} {ratio}{result['device_peak_bytes'] / 2**30:9.1f}"
            f"{result['host_peak_bytes'] / 2**30:9.1f}")


def heading(case):
    return (f"{case.name}: {case.parameters() / 1e9:.2f}B parameters, {case.tokens_per_step} tokens per step of length "
            f"{case.sequence_length} in {case.micro_batches} micro-batches of {case.rows_per_micro_batch}\n"
            f"  {'peer':16}{'state':28}{'tokens/s':>10} {'ours/it':>7}{'VRAM GiB':>9}{'RAM GiB':>9}")


def recorded_command():
    """Without paths: they belong to a machine."""
    with_path = ("--penstock", "--megatrain", "--llmq", "--deepspeed", "--results")
    kept, skip = [], False
    for argument in sys.argv[1:]:
        if not skip and not argument.startswith(tuple(f"{name}=" for name in with_path)):
            kept.append(argument if argument not in with_path else f"{argument} ...")
        skip = argument in with_path
    return " ".join(["bench/peers/run_peers.py", *(text for text in kept if not text.endswith("results ..."))])


def installed_versions():
    versions = {}
    for name in ("torch", "transformers", "accelerate", "deepspeed"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def main():
    arguments = parse_arguments()
    machine = describe_machine(arguments)
    if arguments.device == "cuda" and "card" not in machine:
        sys.exit("no card: nvidia-smi finds none (--case smoke --device host tries the scripts without one)")
    text = ", ".join(f"{key} {value}" for key, value in machine.items())
    print(f"{text}\n{COMMON_RULES}; median of {arguments.steps} steps after {arguments.warmup}", flush=True)
    results, lines = [], [text]
    for case in chosen_cases(arguments.case, arguments.micro_batch_tokens):
        print(heading(case), flush=True)
        of_case = run_case(arguments, case, machine)
        lines += [heading(case), *(table_line(result, of_case) for result in of_case)]
        results += of_case
    if arguments.out:
        report = {"command": recorded_command(), "machine": machine, "versions": installed_versions(),
                  "rules": COMMON_RULES, "steps": arguments.steps, "warmup": arguments.warmup, "results": results}
        arguments.results.mkdir(exist_ok=True)
        path = arguments.results / arguments.out
        path.with_name(f"{arguments.out}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        path.with_name(f"{arguments.out}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
