"""ZeRO-3 with parameters and optimizer on the host, by the DeepSpeed that run_peers.py puts first in the path."""

import os

import deepspeed
import torch
from torch_steps import limit_memory, make_model, read_job, train


def settings(job):
    host = {"device": "cpu", "pin_memory": True}
    return {
        "train_micro_batch_size_per_gpu": job["rows_per_micro_batch"],
        "gradient_accumulation_steps": job["micro_batches"],
        "gradient_clipping": 1.0,
        "bf16": {"enabled": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}},
        "zero_optimization": {"stage": 3, "offload_param": host, "offload_optimizer": host, "overlap_comm": True,
                              "contiguous_gradients": True},
    }


def main():
    job = read_job()
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": 29511}.items():
        os.environ.setdefault(name, str(value))
    limit_memory(job)
    model = make_model(job, torch.bfloat16)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=settings(job))

    def forward(batch):
        loss = engine(input_ids=batch, labels=batch).loss
        engine.backward(loss)  # divides by the number of micro-batches
        engine.step()  # updates after the last of them
        return loss / job["micro_batches"]

    train(job, forward, lambda: None)


if __name__ == "__main__":
    main()
