"""Tiny random Hugging Face models and token rows, and their loss and gradients by autograd: the oracle."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

UNTRAINED = -100


@dataclass
class Case:
    """Odd on purpose: GQA ratios, a vocabulary that is no multiple of 8, packed rows, masked labels."""

    name: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    layers: int
    length: int
    rows: int
    micro_batches: int
    document_length: int  # packed rows: all alike, so that any shuffled order packs into the same number of rows
    packing: bool = True
    model_type: str = "llama"
    fields: dict = field(default_factory=dict)  # of the family's config, beside the shape


CASES = [
    Case("gqa3_packed", 48, 6, 2, 8, 72, 101, 2, 24, 2, 1, 8),
    Case("mqa_padded", 36, 3, 1, 12, 50, 67, 3, 17, 1, 3, 5),
    Case("mha_unpacked", 40, 4, 4, 10, 96, 131, 1, 9, 3, 2, 9, packing=False),
    Case("wide_head_dim", 32, 2, 1, 24, 41, 259, 2, 33, 2, 2, 33),
    Case("tiny_documents", 16, 2, 2, 8, 24, 29, 2, 7, 4, 1, 3),
]


def make_model(case: Case, seed: int = 0) -> PreTrainedModel:
    """Norms and biases are random too: at their initial 1 and 0 many mistakes do not show."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(case.model_type, **{
        "vocab_size": case.vocab, "hidden_size": case.hidden, "intermediate_size": case.ffn,
        "num_hidden_layers": case.layers, "num_attention_heads": case.heads, "num_key_value_heads": case.kv_heads,
        "head_dim": case.head_dim, "max_position_embeddings": 64, "rope_theta": 5000.0, "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "initializer_range": 0.2, **case.fields,
    })
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif name.endswith(".bias"):
                parameter.normal_(0, 0.3)
    return model


def make_documents(case: Case, seed: int = 1) -> list[dict]:
    """Documents that fill exactly one step of M x B rows. The first trains a single token, the others about 70%."""
    rng = random.Random(seed)
    rows = case.rows * case.micro_batches
    count = rows * (case.length // case.document_length) if case.packing else rows
    documents = []
    for index in range(count):
        size = case.document_length if case.packing else rng.randint(2, case.length)
        ids = [rng.randrange(case.vocab) for _ in range(size)]
        labels = [token if rng.random() < 0.7 else UNTRAINED for token in ids]
        if index == 0:
            labels = [UNTRAINED] * (size - 1) + ids[-1:]
        documents.append({"input_ids": ids, "labels": labels})
    return documents


def loss_and_gradients(model: torch.nn.Module, documents: list[dict]) -> tuple[float, dict[str, torch.Tensor], int]:
    """Documents one by one, so that no packing or mask of ours is trusted. Returns loss, gradients, trained tokens."""
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device
    trained = sum(sum(label != UNTRAINED for label in d["labels"][1:]) for d in documents)
    total = 0.0
    for document in documents:
        ids = torch.tensor([document["input_ids"]], device=device)
        labels = torch.tensor(document["labels"][1:], device=device)
        if len(labels) == 0:
            continue
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=UNTRAINED, reduction="sum") / trained
        if (labels != UNTRAINED).any():
            loss.backward()
            total += loss.item()
    return total, {n: p.grad for n, p in model.named_parameters()}, trained


def write_case(case: Case, folder: Path, model: torch.nn.Module, documents: list[dict], **keys) -> Path:
    """A model folder, a JSONL file and a configuration whose one step is all the documents."""
    model.save_pretrained(folder / "model")
    (folder / "rows.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    settings = {
        "model_name_or_path": str(folder / "model"), "path": str(folder / "rows.jsonl"), "tokenizer": "none",
        "max_seq_len": case.length, "packing": str(case.packing).lower(),
        "per_device_train_batch_size": case.rows, "gradient_accumulation_steps": case.micro_batches,
        "max_steps": 1, "state_format": "float32", "compute_dtype": "float32", **keys,
    }
    config = folder / "config.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    return config


def round_half_up(weights: torch.Tensor) -> torch.Tensor:
    """fp32 to the bf16 that `exact` streams (ties away from zero), as fp32."""
    bits = weights.contiguous().view(torch.int32)
    return ((bits + 0x8000) & ~0xFFFF).view(torch.float32).reshape(weights.shape)
