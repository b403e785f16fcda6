"""Loss and every gradient against Hugging Face transformers, fp32 on the CPU."""

import pytest
import torch
from gradient_parity import compare, compare_gradients, run
from tiny_models import CASES, loss_and_gradients, make_documents, make_model, round_half_up

CASE_IDS = [case.name for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_float32_equals_transformers(case, tmp_path):
    model = make_model(case)
    compare(case, tmp_path, model, model, 1e-5)


@pytest.mark.parametrize("case", CASES[:2], ids=CASE_IDS[:2])
def test_recompute_and_depth_equal_transformers(case, tmp_path):
    model = make_model(case)
    compare(case, tmp_path, model, model, 1e-5, activations="recompute", prefetch_depth=3, gradient_slots=1)


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_exact_equals_transformers_with_rounded_weights(case, tmp_path):
    model = make_model(case)
    reference = make_model(case)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(round_half_up(parameter))
    compare(case, tmp_path, model, reference, 5e-3, state_format="exact")


def test_the_comparison_can_fail(tmp_path):
    case = CASES[0]
    other = make_model(case)
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight[0, 0] += 0.5
    result = run(case, tmp_path, make_model(case))
    with pytest.raises(AssertionError, match="of its norm"):
        compare_gradients(result, loss_and_gradients(other, make_documents(case)), 1e-5)
