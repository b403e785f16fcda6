"""One runner per peer: what it needs, its command line, and how its steps are read. No runner measures by itself."""

import importlib.util
import json
import pathlib
import re
import statistics
import struct
import sys

PEERS = pathlib.Path(__file__).resolve().parent


class Skipped(Exception):
    """Why a peer cannot run this case here, in one line."""


class Runner:
    name = ""
    state = ""  # what its optimizer state is, for the table
    # Host bytes per parameter, for a refusal before the machine swaps.
    host_bytes_per_parameter = 0
    needs_card = True
    # More weight than this cannot be on the card: None where the weights stream.
    device_bytes_per_parameter = None

    def __init__(self, arguments):
        self.arguments = arguments

    def check(self, case):
        """Raises Skipped."""

    def command(self, case, folder, rows):
        raise NotImplementedError

    def environment(self):
        return {}

    def seconds(self, case, folder, outcome):
        """Seconds of every step, warm-up included."""
        raise NotImplementedError


class Penstock(Runner):
    name, state = "penstock", "fp32-exact"
    host_bytes_per_parameter = 14
    needs_card = False

    def check(self, case):
        if not self.arguments.penstock.is_file():
            raise Skipped(f"{self.arguments.penstock}: no such file; build first or give --penstock")

    def config(self, case, folder, rows):
        steps = self.arguments.warmup + self.arguments.steps
        cuda = self.arguments.device == "cuda"
        device = {"backend": "cuda" if cuda else "host", "compute_dtype": "bfloat16"}
        if self.arguments.memory_gb:
            device["memory_gb"] = self.arguments.memory_gb
        return {
            "model": case.shape,
            "dataset": {"path": str(rows), "tokenizer": "none", "max_seq_len": case.sequence_length},
            "training": {"per_device_train_batch_size": case.rows_per_micro_batch,
                         "gradient_accumulation_steps": case.micro_batches, "max_steps": steps,
                         "learning_rate": 1e-4, "lr_scheduler_type": "constant", "warmup_steps": 0,
                         "weight_decay": 0.1, "max_grad_norm": 1.0, "save_strategy": "no",
                         "output_dir": str(folder / "run")},
            "optimizer": {"state_format": "exact", "beta1": 0.9, "beta2": 0.95},
            "memory": {"activations": "recompute"},
            "device": device,
            "generation": {"max_new_tokens": 0},
        }

    def command(self, case, folder, rows):
        lines = []
        for section, keys in self.config(case, folder, rows).items():
            lines.append(f"{section}:")
            lines += [f"  {key}: {json.dumps(value)}" for key, value in keys.items()]
        (folder / "peers.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return [str(self.arguments.penstock), "train", str(folder / "peers.yaml"), *self.arguments.penstock_key]

    def seconds(self, case, folder, outcome):
        lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [step for step in map(json.loads, lines) if "tokens_per_second" in step]
        return [case.tokens_per_step / step["tokens_per_second"] for step in steps]


class TorchScript(Runner):
    """A script of this folder. Its job is a JSON object; its last line of output is another (torch_steps.py)."""

    script = ""
    packages = ["torch", "transformers"]
    reserved_bytes = 0

    def check(self, case):
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise Skipped(f"needs the Python package {package}: pip install {package}")

    def command(self, case, folder, rows):
        job = {"shape": case.shape, "sequence_length": case.sequence_length, "rows_per_step": case.rows_per_step,
               "rows_per_micro_batch": case.rows_per_micro_batch, "micro_batches": case.micro_batches,
               "steps": self.arguments.warmup + self.arguments.steps, "rows": str(rows), "folder": str(folder),
               "device": "cuda" if self.arguments.device == "cuda" else "cpu", "memory_gb": self.arguments.memory_gb}
        return [sys.executable, str(PEERS / self.script), json.dumps(job)]

    def seconds(self, case, folder, outcome):
        last = json.loads(outcome.out.strip().splitlines()[-1])
        self.reserved_bytes = last["torch_reserved_bytes"]
        return last["seconds"]


class Fsdp2(TorchScript):
    name, state, script = "fsdp2-offload", "fp32", "fsdp2_offload.py"
    host_bytes_per_parameter = 16
    needs_card = False  # on the host it tries the script, no more: nothing is offloaded


class HfTrainer(TorchScript):
    name, state, script = "hf-trainer", "fp32, on the device", "hf_trainer.py"
    packages = [*TorchScript.packages, "accelerate"]
    host_bytes_per_parameter = 4
    device_bytes_per_parameter = 16
    needs_card = False


class FromCheckout(TorchScript):
    """A peer whose package comes from a folder that the user names."""

    option, package_file = "", ""

    def checkout(self):
        return getattr(self.arguments, self.option)

    def check(self, case):
        check_checkout(self.checkout(), self.option, [self.package_file])
        super().check(case)

    def environment(self):
        return {"PYTHONPATH": str(self.checkout())}


class DeepSpeed(FromCheckout):
    name, state, script = "deepspeed-zero3", "fp32", "deepspeed_offload.py"
    option, package_file = "deepspeed", "deepspeed/__init__.py"
    host_bytes_per_parameter = 18


class MegaTrain(FromCheckout):
    name, state, script = "megatrain", "bf16 masters", "megatrain_steps.py"
    option, package_file = "megatrain", "infinity/model/cpu_master.py"
    host_bytes_per_parameter = 12


class LlmQ(Runner):
    """The checkout's own program, built by the user as its README says (build/train)."""

    name, state = "llmq", "bf16 masters, fp32 moments"
    option = "llmq"
    host_bytes_per_parameter = 14
    step_line = re.compile(r"^\[T\] step +\d+ .*\| time: +(\d+) +(ms|s) \|")

    def check(self, case):
        check_checkout(self.arguments.llmq, self.option, ["build/train"])

    def command(self, case, folder, rows):
        (folder / "config.json").write_text(json.dumps(self.model_config(case)), encoding="utf-8")
        write_llmq_tokens(rows, folder / "tokens.bin", case.shape["vocab_size"])
        steps = self.arguments.warmup + self.arguments.steps
        return [
            str(self.arguments.llmq / "build/train"), f"--model={folder}", "--from-scratch",
            f"--train-file={folder}/tokens.bin", f"--eval-file={folder}/tokens.bin", "--eval-num-steps=1",
            f"--eval-every-n-steps={steps + 1}", f"--ckpt-interval={steps + 1}", f"--out-dir={folder}/out",
            f"--checkpoint-dir={folder}/checkpoints", f"--log-file={folder}/log.json", "--gpus=1",
            f"--seq-len={case.sequence_length}", f"--batch-size={case.rows_per_micro_batch}",
            f"--grad-accumulation={case.micro_batches}", f"--steps={steps}", "--learning-rate=1e-4", "--grad-clip=1.0",
            "--beta-1=0.9", "--beta-2=0.95", "--weight-decay=0.1", "--model-dtype=bf16", "--matmul-dtype=bf16",
            "--opt-m-dtype=fp32", "--opt-v-dtype=fp32", "--offload-opt-m", "--offload-opt-v", "--offload-master",
            "--shard-weights", "--recompute-block", "--offload-residual",
            f"--lmhead-chunks={case.rows_per_micro_batch}", f"--attn-bwd-chunks={case.rows_per_micro_batch}",
        ]

    def model_config(self, case):
        architecture = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}[case.shape["model_type"]]
        return {**case.shape, "architectures": [architecture], "bos_token_id": 0, "eos_token_id": 1,
                "hidden_act": "silu", "initializer_range": 0.02, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
                "max_position_embeddings": max(2048, case.sequence_length), "torch_dtype": "bfloat16"}

    def seconds(self, case, folder, outcome):
        found = [self.step_line.match(line) for line in outcome.out.splitlines()]
        return [int(match[1]) / (1000 if match[2] == "ms" else 1) for match in found if match]


def check_checkout(folder, option, files):
    if folder is None:
        raise Skipped(f"only with --{option} DIR, a checkout of it")
    for file in files:
        if not (folder / file).is_file():
            raise Skipped(f"--{option} {folder} has no {file}")


def write_llmq_tokens(rows, path, vocabulary):
    """Its token files: 1024 bytes of header (BIN.TOK, version 2, 4 bytes a token, count, vocabulary, no masks), ids."""
    with open(rows, encoding="utf-8") as file:
        ids = [token for line in file for token in json.loads(line)["input_ids"]]
    header = b"BIN.TOK\n" + struct.pack("<5i", 2, 4, len(ids), vocabulary, 0)
    path.write_bytes(header.ljust(1024, b"\0") + struct.pack(f"<{len(ids)}i", *ids))


RUNNERS = [Penstock, Fsdp2, HfTrainer, DeepSpeed, MegaTrain, LlmQ]


def median_tokens_per_second(case, seconds, warmup, steps):
    if len(seconds) < warmup + steps:
        raise Skipped(f"it reported {len(seconds)} of {warmup + steps} steps")
    return case.tokens_per_step / statistics.median(seconds[warmup:warmup + steps])
