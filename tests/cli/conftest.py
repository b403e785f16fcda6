import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytest  # noqa: E402
from penstock_runner import write_jsonl  # noqa: E402


@pytest.fixture
def qwen3_folder(tmp_path):
    """A tied model of three blocks in Tiny_Qwen3, and rows of token ids in tokens.jsonl."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    write_jsonl(tmp_path / "tokens.jsonl", [{"input_ids": [(7 * i + j) % 97 for j in range(20)]} for i in range(60)])
    config = Qwen3Config(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=64, tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "Tiny_Qwen3")
    return tmp_path
