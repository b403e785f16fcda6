"""Loss and every gradient against Hugging Face transformers, fp32 on the CPU."""

import pytest
import torch
from penstock_runner import penstock_json
from safetensors.torch import load_file
from tiny_models import CASES, loss_and_gradients, make_documents, make_model, round_half_up, write_case

CASE_IDS = [case.name for case in CASES]


def run(case, folder, model, **keys):
    config = write_case(case, folder, model, make_documents(case), **keys)
    ours = penstock_json("gradients", config, "--out", folder / "gradients.safetensors", cwd=folder)
    return ours, load_file(folder / "gradients.safetensors")


def compare_gradients(result, expected, tolerance):
    _, found = result
    _, gradients, _ = expected
    assert set(found) == set(gradients)
    for name, expected in gradients.items():
        assert found[name].dtype == torch.float32
        error = (found[name].double() - expected.double()).norm().item()
        norm = expected.double().norm().item()
        assert error <= tolerance * norm, f"{name}: {error / norm:.2e} of its norm"


def compare(case, folder, model, reference, tolerance, **keys):
    result = run(case, folder, model, **keys)
    expected = loss_and_gradients(reference, make_documents(case))
    loss, _, trained = expected
    assert result[0]["trained_tokens"] == trained
    assert result[0]["loss"] == pytest.approx(loss, rel=tolerance)
    compare_gradients(result, expected, tolerance)


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
