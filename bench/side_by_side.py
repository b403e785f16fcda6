#!/usr/bin/env python3
"""Is a training step without a GPU as fast as the usual one? Tokens/s of Penstock beside transformers + torch AdamW.

Both train the same shape from scratch on the same rows with the same number of threads: forward, backward, clipping to
1.0, AdamW. Measurements take turns inside one run, each in a process of its own; medians count. A goal is met when the
ratio ours/theirs is at least 1.2 (bf16) and 1.0 (fp32).

    bench/side_by_side.py --out two_cores

This is not a test of equal results: tests/parity does that.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

BENCH = pathlib.Path(__file__).resolve().parent
REPOSITORY = BENCH.parent
SIMD_FLAGS = ["avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"]
DTYPES = ["bfloat16", "float32"]
# The state format whose gradients have the precision of the compute type.
STATE_FORMAT = {"bfloat16": "exact", "float32": "float32"}
LANES = ["fetch_ms", "compute_ms", "offload_ms", "host_ms"]
GOAL = {"bfloat16": 1.2, "float32": 1.0}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shape = parser.add_argument_group("shape")
    shape.add_argument("--family", choices=["llama", "mistral", "qwen2", "qwen3", "smollm3"], default="llama")
    for name, default in [("layers", 8), ("hidden", 768), ("ffn", 2048), ("heads", 12), ("kv-heads", 4),
                          ("vocab", 8192), ("rows", 4), ("length", 512)]:
        shape.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--steps", type=int, default=6, help="measured steps of one measurement (default 6)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them (default 2)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (default 3)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--penstock", type=pathlib.Path, default=REPOSITORY / "build/release/penstock",
                        help="the binary (default build/release/penstock)")
    parser.add_argument("--out", metavar="NAME", help="writes bench/results/NAME.json")
    parser.add_argument("--transformers-side", nargs=2, metavar=("DTYPE", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.warmup, arguments.repeats, arguments.threads) < 1:
        parser.error("--steps, --warmup, --repeats and --threads must be at least 1")
    if not arguments.penstock.is_file():
        parser.error(f"{arguments.penstock}: no such file; build first or give --penstock")
    return arguments


def write_rows(arguments, path):
    """Uniform random tokens: the time of a step does not depend on them."""
    generator = random.Random(arguments.seed)
    count = arguments.rows * (arguments.warmup + arguments.steps)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            row = [generator.randrange(arguments.vocab) for _ in range(arguments.length)]
            file.write(json.dumps({"input_ids": row}) + "\n")


def penstock_config(arguments, dtype, rows, output):
    sections = {
        "model": {"model_type": arguments.family, "vocab_size": arguments.vocab, "hidden_size": arguments.hidden,
                  "intermediate_size": arguments.ffn,
                  "num_hidden_layers": arguments.layers, "num_attention_heads": arguments.heads,
                  "num_key_value_heads": arguments.kv_heads},
        "dataset": {"path": str(rows), "tokenizer": "none", "max_seq_len": arguments.length},
        "training": {"per_device_train_batch_size": arguments.rows, "max_steps": arguments.warmup + arguments.steps,
                     "learning_rate": 1e-4, "lr_scheduler_type": "constant", "warmup_steps": 0, "weight_decay": 0.1,
                     "max_grad_norm": 1.0, "seed": arguments.seed, "save_strategy": "no", "output_dir": str(output)},
        "optimizer": {"state_format": STATE_FORMAT[dtype], "threads": arguments.threads},
        "device": {"backend": "host", "compute_dtype": dtype, "compute_threads": arguments.threads},
    }
    lines = []
    for section, keys in sections.items():
        lines.append(f"{section}:")
        lines += [f"  {key}: {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def run_checked(command, environment=None):
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode != 0:
        sys.exit(f"{command[0]} ended with status {result.returncode}:\n{result.stderr[-4000:]}")
    return result.stdout


def measure_penstock(arguments, dtype, rows, folder):
    config, output = folder / "side_by_side.yaml", folder / "run"
    config.write_text(penstock_config(arguments, dtype, rows, output), encoding="utf-8")
    run_checked([str(arguments.penstock), "train", str(config), "training.overwrite_output_dir=true"])
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = lines[arguments.warmup:]
    return {"tokens_per_second": statistics.median(step["tokens_per_second"] for step in steps),
            "first_loss": lines[0]["loss"], "last_loss": lines[-1]["loss"],
            "lanes": {lane: statistics.median(step[lane] for step in steps) for lane in LANES}}


def measure_transformers(arguments, dtype, rows, _):
    command = [sys.executable, __file__, *sys.argv[1:], "--transformers-side", dtype, str(rows)]
    return json.loads(run_checked(command, {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}))


def transformers_model(arguments):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.manual_seed(arguments.seed)
    config = AutoConfig.for_model(
        arguments.family, vocab_size=arguments.vocab, hidden_size=arguments.hidden, intermediate_size=arguments.ffn,
        num_hidden_layers=arguments.layers, num_attention_heads=arguments.heads,
        num_key_value_heads=arguments.kv_heads, head_dim=arguments.hidden // arguments.heads, tie_word_embeddings=False,
        use_cache=False, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32).train()


def train_with_transformers(arguments):
    """The other side, in its own process: what a careful user of transformers writes. Prints one JSON object."""
    import torch
    dtype, path = arguments.transformers_side
    torch.set_num_threads(arguments.threads)
    with open(path, encoding="utf-8") as file:
        data = torch.tensor([json.loads(line)["input_ids"] for line in file])
    model = transformers_model(arguments)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    losses, seconds = [], []
    for batch in data.split(arguments.rows):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({
        "tokens_per_second": arguments.rows * arguments.length / statistics.median(seconds[arguments.warmup:]),
        "first_loss": losses[0], "last_loss": losses[-1]}))


def describe_machine():
    """What decides speed and nothing that names the machine."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {"cpu": fields.get("model name", "unknown"), "cores": len(os.sched_getaffinity(0)),
            "simd": [flag for flag in SIMD_FLAGS if flag in flags]}


def busy_seconds():
    """CPU seconds since the start: of the whole machine, and of this program's children."""
    with open("/proc/stat", encoding="utf-8") as file:
        user, nice, system, _, _, irq, softirq, steal = [int(ticks) for ticks in file.readline().split()[1:9]]
    machine = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return machine, children.ru_utime + children.ru_stime


def measure_watched(measure, *parameters):
    """Adds the cores that others kept busy meanwhile: what makes a measurement doubtful."""
    machine_before, children_before = busy_seconds()
    begin = time.perf_counter()
    result = measure(*parameters)
    seconds = time.perf_counter() - begin
    machine, children = busy_seconds()
    others = (machine - machine_before) - (children - children_before)
    return {**result, "cores_of_others": round(max(0.0, others / seconds), 2)}


def measure_all(arguments):
    sides = {"penstock": measure_penstock, "transformers": measure_transformers}
    measurements = []
    with tempfile.TemporaryDirectory(prefix="side_by_side-") as name:
        folder = pathlib.Path(name)
        rows = folder / "rows.jsonl"
        write_rows(arguments, rows)
        for repeat in range(arguments.repeats):
            for dtype in arguments.dtypes:
                for side, measure in sides.items():
                    result = measure_watched(measure, arguments, dtype, rows, folder)
                    measurements.append({"side": side, "dtype": dtype, "repeat": repeat, **result})
                    print(f"  {repeat + 1}/{arguments.repeats} {dtype:9} {side:13}"
                          f"{result['tokens_per_second']:8.0f} tokens/s   loss {result['first_loss']:.3f} -> "
                          f"{result['last_loss']:.3f}   others kept {result['cores_of_others']:.2f} cores busy",
                          flush=True)
    return measurements


def summarize(measurements, dtype):
    def speeds(side):
        return [m["tokens_per_second"] for m in measurements if m["side"] == side and m["dtype"] == dtype]

    ours, theirs = speeds("penstock"), speeds("transformers")
    by_repeat = [a / b for a, b in zip(ours, theirs)]
    lanes = [m["lanes"] for m in measurements if m["side"] == "penstock" and m["dtype"] == dtype]
    return {"penstock": statistics.median(ours), "transformers": statistics.median(theirs),
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "ratio_min": min(by_repeat), "ratio_max": max(by_repeat), "goal": GOAL[dtype],
            "lanes": {lane: statistics.median(times[lane] for times in lanes) for lane in LANES}}


def recorded_command():
    """Without paths: they belong to a machine."""
    kept, skip = [], False
    for argument in sys.argv[1:]:
        if skip:
            skip = False
        elif argument == "--penstock":
            skip = True
        elif not argument.startswith("--penstock="):
            kept.append(argument)
    return " ".join(["bench/side_by_side.py", *kept])


def main():
    arguments = parse_arguments()
    if arguments.transformers_side:
        train_with_transformers(arguments)
        return
    machine = describe_machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['simd'])}; {arguments.threads} threads")
    measurements = measure_all(arguments)
    summary = {dtype: summarize(measurements, dtype) for dtype in arguments.dtypes}
    for dtype, row in summary.items():
        print(f"{dtype:9} penstock {row['penstock']:.0f}, transformers {row['transformers']:.0f} tokens/s: "
              f"ratio {row['ratio']:.2f} ({row['ratio_min']:.2f}..{row['ratio_max']:.2f}), goal {row['goal']:.1f}; "
              f"lanes of a step: " + ", ".join(f"{lane[:-3]} {ms:.0f} ms" for lane, ms in row["lanes"].items()))
    if arguments.out:
        report = {"command": recorded_command(), "machine": machine,
                  "versions": {name: importlib.metadata.version(name) for name in ["torch", "transformers"]},
                  "settings": {name: value for name, value in vars(arguments).items()
                               if name not in ("penstock", "out", "transformers_side")},
                  "summary": summary, "measurements": measurements}
        path = BENCH / "results" / f"{arguments.out}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
