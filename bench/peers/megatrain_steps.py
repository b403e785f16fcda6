"""MegaTrain's model and optimizer on synthetic rows. Its own examples/train.py reads chats through a tokenizer and
downloads its model; this follows that file's training loop, with the package `infinity` of the user's checkout.

Two differences to the other peers are MegaTrain's own and stay: bf16 master weights, and an update after backward."""

import time

import torch
from infinity import CPUMasterModel
from infinity.config import CPUMasterConfig
from torch_steps import limit_memory, make_model, read_job, report, step_batches


def make_optimizer(parameters):
    options = {"lr": 1e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    try:
        from deepspeed.ops.adam import DeepSpeedCPUAdam
    except ImportError:
        return torch.optim.AdamW(parameters, **options)
    return DeepSpeedCPUAdam(parameters, adamw_mode=True, **options)


def main():
    job = read_job()
    limit_memory(job)
    config = CPUMasterConfig(
        model_name="synthetic", dataset_path="synthetic", attn_implementation="sdpa", device=0, dtype=torch.bfloat16,
        max_seq_len=job["sequence_length"], batch_size=job["rows_per_micro_batch"],
        gradient_accumulation_steps=job["micro_batches"], num_steps=job["steps"], max_grad_norm=1.0)
    model = CPUMasterModel(make_model(job, torch.bfloat16), config)
    optimizer = make_optimizer(model.get_parameters())
    seconds, losses = [], []
    for batches in step_batches(job):
        begin, total = time.perf_counter(), 0.0
        for batch in batches:
            loss, *_ = model.forward_and_backward(batch, torch.ones_like(batch), batch)
            total += float(loss) / len(batches)
        torch.nn.utils.clip_grad_norm_(model.get_parameters(), config.max_grad_norm)
        optimizer.step()
        model._sync_params_to_gpu()
        model.zero_grad()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
        losses.append(total)
    report(seconds, losses, cuda=True)
    model.cleanup()


if __name__ == "__main__":
    main()
