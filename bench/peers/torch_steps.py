"""What the PyTorch peers share: a random model of a case's shape, its rows, and the loop that is timed.

Each peer's script is run by run_peers.py as `SCRIPT JOB`, JOB being a JSON object, and prints one JSON object as its
last line: the seconds and the loss of every step."""

import json
import sys
import time

import torch


def read_job():
    return json.loads(sys.argv[1])


def device_of(job):
    return torch.device(job["device"])


def limit_memory(job):
    """Torch's share of the card, for comparisons within a smaller card's memory."""
    if job["memory_gb"]:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, job["memory_gb"] * 2**30 / total))


def make_config(job):
    from transformers import AutoConfig

    shape = dict(job["shape"])
    return AutoConfig.for_model(shape.pop("model_type"), **shape, use_cache=False, bos_token_id=None, eos_token_id=None,
                                pad_token_id=None, max_position_embeddings=max(2048, job["sequence_length"]))


def make_model(job, dtype):
    """Random weights on the host, without the minutes that transformers' own initialisation takes at 8B."""
    from transformers import AutoModelForCausalLM

    config = make_config(job)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype)
    model.to_empty(device="cpu")
    model.tie_weights()
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config)  # its tables are no parameters
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.fill_(1)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(0, 0.02)
    return model.train()


def step_batches(job):
    """One list of micro-batches [rows, length] for every step."""
    with open(job["rows"], encoding="utf-8") as file:
        rows = torch.tensor([json.loads(line)["input_ids"] for line in file])
    for step in rows.split(job["rows_per_step"]):
        yield step.split(job["rows_per_micro_batch"])


def train(job, forward, finish_step):
    """forward(micro_batch) runs forward and backward and returns its share of the step's loss as a tensor;
    finish_step() clips, updates and clears."""
    cuda = job["device"] == "cuda"
    seconds, losses = [], []
    for batches in step_batches(job):
        begin = time.perf_counter()
        total = sum(forward(batch.to(job["device"])).detach() for batch in batches)
        finish_step()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
        losses.append(float(total))
    return report(seconds, losses, cuda)


def report(seconds, losses, cuda):
    reserved = torch.cuda.max_memory_reserved() if cuda else 0
    print(json.dumps({"seconds": seconds, "losses": losses, "torch_reserved_bytes": reserved}), flush=True)
