"""Runs `penstock gradients` on a tiny model and compares loss and gradients with transformers'."""

import pytest
import torch
from penstock_runner import penstock_json
from safetensors.torch import load_file
from tiny_models import loss_and_gradients, make_documents, write_case


def run_config(config):
    """What `penstock gradients` reports, and its gradients."""
    out = config.parent / "gradients.safetensors"
    return penstock_json("gradients", config, "--out", out, cwd=config.parent), load_file(out)


def run(case, folder, model, **keys):
    return run_config(write_case(case, folder, model, make_documents(case), **keys))


def compare_gradients(result, expected, tolerance):
    """Returns the worst error relative to a gradient's norm, and whose it is."""
    _, found = result
    _, gradients, _ = expected
    assert set(found) == set(gradients)
    worst = (0.0, "")
    for name, expected in gradients.items():
        assert found[name].dtype == torch.float32
        error = (found[name].double() - expected.double()).norm().item()
        norm = scale_of(name, gradients)
        assert error <= tolerance * norm, f"{name}: {error / norm:.2e} of its norm"
        worst = max(worst, (error / norm, name))
    return worst


def scale_of(name, gradients):
    """The gradient's norm. A key's bias moves all scores of a query alike but for the rotation, so its gradient is the
    rest of a cancellation (zero where nothing rotates): it is measured by the query's, which does not cancel."""
    if name.endswith("k_proj.bias"):
        name = name.replace("k_proj", "q_proj")
    return gradients[name].double().norm().item()


def compare_all(result, expected, tolerance):
    """Returns the loss's relative error and the worst gradient's, with its name."""
    loss, _, trained = expected
    assert result[0]["trained_tokens"] == trained
    assert result[0]["loss"] == pytest.approx(loss, rel=tolerance)
    return abs(result[0]["loss"] / loss - 1), *compare_gradients(result, expected, tolerance)


def compare(case, folder, model, reference, tolerance, **keys):
    compare_all(run(case, folder, model, **keys), loss_and_gradients(reference, make_documents(case)), tolerance)
