"""What is compared: shapes, tokens per step, sequence lengths. Every peer gets the same case. No torch here."""

from dataclasses import dataclass, replace

COMMON_RULES = "clipping to 1.0, AdamW, bf16 products, gradients summed in fp32, random weights and tokens"


@dataclass(frozen=True)
class Case:
    name: str
    shape: dict  # under Hugging Face's names
    sequence_length: int
    tokens_per_step: int
    # Tokens that one forward takes where a peer must split a step; --micro-batch-tokens changes it.
    micro_batch_tokens: int = 8192

    @property
    def rows_per_step(self):
        return self.tokens_per_step // self.sequence_length

    @property
    def rows_per_micro_batch(self):
        """The most rows that divide the step's and hold at most micro_batch_tokens, at least one."""
        most = max(1, self.micro_batch_tokens // self.sequence_length)
        return max(rows for rows in range(1, most + 1) if self.rows_per_step % rows == 0)

    @property
    def micro_batches(self):
        return self.rows_per_step // self.rows_per_micro_batch

    def parameters(self):
        s = self.shape
        head_dim = s["hidden_size"] // s["num_attention_heads"]
        query, key = s["num_attention_heads"] * head_dim, s["num_key_value_heads"] * head_dim
        block = s["hidden_size"] * (2 * query + 2 * key + 3 * s["intermediate_size"] + 2)
        block += query + 2 * key if s["model_type"] == "qwen2" else 0
        tables = 1 if s["tie_word_embeddings"] else 2
        return s["num_hidden_layers"] * block + tables * s["vocab_size"] * s["hidden_size"] + s["hidden_size"]


def shape(model_type, vocab, hidden, ffn, layers, heads, kv_heads, tied=False):
    return {"model_type": model_type, "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": ffn,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "tie_word_embeddings": tied}


QWEN_3B = shape("qwen2", 151936, 2048, 11008, 36, 16, 2, tied=True)
QWEN_7B = shape("qwen2", 152064, 3584, 18944, 28, 28, 4)
LLAMA_8B = shape("llama", 128256, 4096, 14336, 32, 32, 8)

CASES = {case.name: case for case in [
    Case("qwen2.5-3b-16k", QWEN_3B, 2048, 16384),
    *(Case(f"llama-3.1-8b-{tokens // 1024}k", LLAMA_8B, 2048, tokens) for tokens in (4096, 16384, 32768, 65536)),
    Case("qwen2.5-7b-512k", QWEN_7B, 1024, 524288),
    Case("smoke", shape("llama", 512, 128, 352, 2, 2, 1), 64, 512, micro_batch_tokens=128),
]}
# What `--case all` means: those of the closing table.
MEASURED = [name for name in CASES if name != "smoke"]


def chosen_cases(names, micro_batch_tokens):
    found = [CASES[name] for name in (MEASURED if names == ["all"] else names)]
    return [replace(case, micro_batch_tokens=micro_batch_tokens) for case in found] if micro_batch_tokens else found
