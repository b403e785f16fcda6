"""Loss and gradients of every family and switch on the GPU: against Hugging Face transformers on the same GPU, and
against Penstock's own host device. fp32 everywhere, then bf16 with its own tolerance."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from family_models import FAMILY_CASES
from gpu_target import BACKEND, TORCH_DEVICE, requires_gpu
from gradient_parity import compare_gradients, run_config
from tiny_models import loss_and_gradients, make_documents, make_model, round_half_up, write_case

# Both sides sum fp32 in orders of their own (DESIGN.md section 2: loss 1e-5, gradients 1e-4).
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
# bf16: how much further from fp32 we may be than transformers under autocast. Both round the same products, not alike.
BFLOAT16_LOSS_TOLERANCE = 1e-2
BFLOAT16_OVER_AUTOCAST = 1.5
# bf16 attention on the GPU wants head extents that are multiples of 8, widths and feed-forward too.
BFLOAT16_CASES = [case for case in FAMILY_CASES if case.head_dim == 16 and case.hidden == 64]

pytestmark = requires_gpu


@pytest.fixture(scope="module", autouse=True)
def full_precision():
    """No TF32 on the oracle's side."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """Every selected case: its folder and Penstock's two results to come, two processes at a time beside this one."""
    chosen = {item.callspec.params["case"].name: item.callspec.params["case"] for item in request.session.items
              if "case" in getattr(getattr(item, "callspec", None), "params", {})}
    with ThreadPoolExecutor(2) as pool:
        found = {}
        for case in chosen.values():
            found[case.name] = {
                place: pool.submit(run_config, write_run(case, tmp_path_factory.mktemp(case.name), backend))
                for place, backend in [("device", BACKEND), ("host", "host")]
            }
        yield found


def write_run(case, folder, backend, **keys):
    # A host run's result depends on its threads; one makes it the families_test's.
    return write_case(case, folder, make_model(case), make_documents(case), backend=backend, compute_threads=1, **keys)


def on_host(expected):
    loss, gradients, trained = expected
    return loss, {name: gradient.cpu() for name, gradient in gradients.items()}, trained


def reference(model, case):
    """transformers' loss and gradients on the GPU, brought back."""
    return on_host(loss_and_gradients(model.to(TORCH_DEVICE), make_documents(case)))


def compare_both(result, expected, loss_tolerance, gradient_tolerance):
    report, _ = result
    loss, _, trained = expected
    assert report["trained_tokens"] == trained
    assert report["loss"] == pytest.approx(loss, rel=loss_tolerance)
    return compare_gradients(result, expected, gradient_tolerance)


@pytest.mark.parametrize("case", FAMILY_CASES, ids=lambda case: case.name)
def test_float32_equals_transformers_on_the_gpu(case, runs):
    result = runs[case.name]["device"].result()
    compare_both(result, reference(make_model(case), case), LOSS_TOLERANCE, GRADIENT_TOLERANCE)


@pytest.mark.parametrize("case", FAMILY_CASES, ids=lambda case: case.name)
def test_float32_equals_the_host_device(case, runs):
    report, gradients = runs[case.name]["host"].result()
    expected = report["loss"], gradients, report["trained_tokens"]
    compare_both(runs[case.name]["device"].result(), expected, LOSS_TOLERANCE, GRADIENT_TOLERANCE)


def relative_distance(gradients, truth):
    """Of all gradients as one vector."""
    error = sum((gradients[name].double() - truth[name].double()).pow(2).sum().item() for name in truth)
    return math.sqrt(error / sum(truth[name].double().pow(2).sum().item() for name in truth))


@pytest.mark.parametrize("shape", BFLOAT16_CASES, ids=lambda case: case.name)
def test_bfloat16_is_as_near_to_float32_as_transformers_autocast(shape, tmp_path):
    """All three start from the very weights that stream."""
    model = make_model(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(round_half_up(parameter))
    loss, truth, trained = reference(model, shape)
    with torch.autocast(TORCH_DEVICE, torch.bfloat16):
        _, theirs, _ = reference(model, shape)
    report, ours = run_config(write_run(shape, tmp_path, BACKEND, state_format="exact", compute_dtype="bfloat16"))
    assert report["trained_tokens"] == trained
    assert report["loss"] == pytest.approx(loss, rel=BFLOAT16_LOSS_TOLERANCE)
    assert 0 < relative_distance(ours, truth) <= BFLOAT16_OVER_AUTOCAST * relative_distance(theirs, truth)


def test_the_table_has_bfloat16_cases_of_every_family():
    assert {case.model_type for case in BFLOAT16_CASES} == {case.model_type for case in FAMILY_CASES}


def test_the_comparison_can_fail(tmp_path):
    case = FAMILY_CASES[0]
    result = run_config(write_run(case, tmp_path, BACKEND))
    other = make_model(case)
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight[0, 0] += 0.5
    with pytest.raises(AssertionError, match="of its norm"):
        compare_both(result, reference(other, case), 1.0, GRADIENT_TOLERANCE)
    with pytest.raises(AssertionError, match="Obtained"):
        compare_both(result, reference(other, case), LOSS_TOLERANCE, 1.0)
