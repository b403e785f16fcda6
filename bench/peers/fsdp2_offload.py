"""FSDP2 with parameters, gradients and optimizer on the host: plain PyTorch, as its documentation combines it."""

import tempfile

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch_steps import device_of, limit_memory, make_model, read_job, train


def shard(model, device):
    """Every block is a group of its own; the embedding, the last norm and the head are the root's."""
    mesh = init_device_mesh(device.type, (1,))
    options = {
        "mesh": mesh,
        "mp_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
        "offload_policy": CPUOffloadPolicy(pin_memory=True) if device.type == "cuda" else OffloadPolicy(),
    }
    for block in model.model.layers:
        fully_shard(block, reshard_after_forward=True, **options)
    fully_shard(model, **options)


def main():
    job = read_job()
    device = device_of(job)
    if device.type == "cuda":
        torch.cuda.set_device(0)
        limit_memory(job)
    with tempfile.TemporaryDirectory() as folder:
        # The norm of host gradients is summed by gloo.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
        model = make_model(job, torch.float32)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        shard(model, device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

        def forward(batch):
            loss = model(input_ids=batch, labels=batch).loss / job["micro_batches"]
            loss.backward()
            return loss

        def finish_step():
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        train(job, forward, finish_step)
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
