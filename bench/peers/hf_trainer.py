"""Hugging Face Trainer with the whole model and optimizer on the device: the fast way where they fit."""

import importlib.util
import sys
import time

import torch
from torch_steps import limit_memory, make_model, read_job, report, step_batches
from transformers import Trainer, TrainerCallback, TrainingArguments


class Clock(TrainerCallback):
    """Seconds of every optimizer step, with the device idle at both ends."""

    def __init__(self, cuda):
        self.cuda, self.begin, self.seconds, self.losses = cuda, 0.0, [], []

    def now(self):
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_step_begin(self, args, state, control, **kwargs):
        self.begin = self.now()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(self.now() - self.begin)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


class Rows(torch.utils.data.Dataset):
    def __init__(self, job):
        self.rows = [row for batches in step_batches(job) for batch in batches for row in batch]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def main():
    if importlib.util.find_spec("accelerate") is None:
        sys.exit("hf_trainer.py needs the Python package accelerate: pip install accelerate")
    job = read_job()
    cuda = job["device"] == "cuda"
    if cuda:
        limit_memory(job)
    rows, clock = Rows(job), Clock(cuda)
    arguments = TrainingArguments(
        output_dir=job["folder"], per_device_train_batch_size=job["rows_per_micro_batch"],
        gradient_accumulation_steps=job["micro_batches"], max_steps=job["steps"], learning_rate=1e-4,
        lr_scheduler_type="constant", adam_beta1=0.9, adam_beta2=0.95, weight_decay=0.1, max_grad_norm=1.0, bf16=True,
        gradient_checkpointing=True, optim="adamw_torch_fused", use_cpu=not cuda, logging_steps=1,
        save_strategy="no", report_to=[], disable_tqdm=True, dataloader_pin_memory=cuda)
    trainer = Trainer(make_model(job, torch.float32), arguments, train_dataset=rows, callbacks=[clock])
    trainer.train()
    report(clock.seconds, clock.losses, cuda)


if __name__ == "__main__":
    main()
