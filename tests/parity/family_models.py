"""The table of families, switches and shapes: every variant of a family meets several shapes, scalings and heads."""

from itertools import count

from tiny_models import Case, make_documents

# Head counts and extents that no vector, tile or alignment divides, and one that all of them do.
SHAPES = [
    dict(hidden=48, heads=6, kv_heads=2, head_dim=10, ffn=72, vocab=101),  # query wider than hidden
    dict(hidden=36, heads=3, kv_heads=1, head_dim=8, ffn=50, vocab=67),  # one key head, query narrower than hidden
    dict(hidden=40, heads=4, kv_heads=4, head_dim=10, ffn=96, vocab=131),  # as many key heads as query heads
    dict(hidden=64, heads=8, kv_heads=4, head_dim=16, ffn=128, vocab=256),
    dict(hidden=20, heads=5, kv_heads=1, head_dim=6, ffn=34, vocab=43),
]
# Documents of a row: several packed, one that fills it, rows that end in padding.
ROWS = [
    dict(length=24, rows=2, micro_batches=1, document_length=8),
    dict(length=21, rows=2, micro_batches=2, document_length=21),
    dict(length=17, rows=3, micro_batches=1, document_length=7),
    dict(length=15, rows=2, micro_batches=2, document_length=15, packing=False),
]
ROPES = [
    dict(rope_type="default"),
    dict(rope_type="linear", factor=2.5),
    dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
         original_max_position_embeddings=48),
    dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    dict(rope_type="dynamic", factor=3.0),
    dict(rope_type="yarn", factor=6.0, original_max_position_embeddings=40, beta_fast=6.0, beta_slow=0.7, mscale=0.8,
         mscale_all_dim=1.6, truncate=False),
    dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=32, attention_factor=0.7),
]
EPSILONS = [1e-6, 1e-5, 1e-2]
SLIDING = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]

VARIANTS = {
    "llama": [
        {},
        dict(attention_bias=True),
        dict(mlp_bias=True),
        dict(attention_bias=True, mlp_bias=True),
    ],
    "mistral": [
        dict(sliding_window=None),
        dict(sliding_window=5),
        dict(sliding_window=2),
        dict(sliding_window=4096),
    ],
    "qwen2": [
        {},
        dict(use_sliding_window=True, sliding_window=4, max_window_layers=1),
        dict(use_sliding_window=True, sliding_window=6, layer_types=SLIDING),
    ],
    "qwen3": [
        {},
        dict(attention_bias=True),
        dict(use_sliding_window=True, sliding_window=3, max_window_layers=2),
        dict(use_sliding_window=True, sliding_window=5, layer_types=SLIDING, attention_bias=True),
    ],
    "smollm3": [
        dict(no_rope_layer_interval=2),
        dict(no_rope_layers=[0, 1, 1, 0]),
        dict(attention_bias=True, mlp_bias=True, no_rope_layer_interval=3),
        dict(use_sliding_window=True, sliding_window=4, no_rope_layer_interval=2),
        dict(use_sliding_window=True, sliding_window=3, layer_types=SLIDING, no_rope_layers=[1, 1, 0, 0]),
    ],
}
# How many shapes each variant meets.
REPEATS = {"llama": 3, "mistral": 2, "qwen2": 3, "qwen3": 3, "smollm3": 2}


def llama_shape(shape: dict) -> dict:
    """transformers refuses a llama whose width its heads do not divide."""
    return {**shape, "hidden": shape["hidden"] // shape["heads"] * shape["heads"]}


def make_cases() -> list[Case]:
    cases = []
    turn = count()
    for family, variants in VARIANTS.items():
        for repeat in range(REPEATS[family]):
            for index, variant in enumerate(variants):
                # The lists' lengths share no factor, so that every pair of choices comes up.
                n = next(turn)
                rope = ROPES[n % len(ROPES)]
                tied = n // len(SHAPES) % 2 == 1
                fields = dict(
                    variant, rope_parameters=dict(rope, rope_theta=(10000.0, 50.0)[n // 3 % 2]),
                    rms_norm_eps=EPSILONS[n % len(EPSILONS)], tie_word_embeddings=tied,
                )
                name = f"{family}-{index}-{repeat}-{rope['rope_type']}-{'tied' if tied else 'untied'}"
                shape = llama_shape(SHAPES[n % len(SHAPES)])
                case = Case(name=name, layers=4, model_type=family, fields=fields, **shape, **ROWS[n % len(ROWS)])
                if n % 2 == 1:  # a padding token that occurs: torch gives its embedding row no gradient
                    fields["pad_token_id"] = make_documents(case)[-1]["input_ids"][0]
                cases.append(case)
    return cases


FAMILY_CASES = make_cases()
