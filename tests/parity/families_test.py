"""Loss and gradients of every family and switch against Hugging Face transformers, fp32 on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
import torch
from family_models import FAMILY_CASES, ROPES, VARIANTS
from gradient_parity import compare_all, compare_gradients, run, run_config
from tiny_models import loss_and_gradients, make_documents, make_model, write_case

TOLERANCE = 1e-5
worst_losses: list[tuple[float, str]] = []
worst_gradients: list[tuple[float, str, str]] = []


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """Each selected case's model, and Penstock's result to come: two processes at a time beside transformers here."""
    chosen = [item.callspec.params["case"] for item in request.session.items
              if "case" in getattr(getattr(item, "callspec", None), "params", {})]
    with ThreadPoolExecutor(2) as pool:
        found = {}
        for case in chosen:
            model = make_model(case)
            folder = tmp_path_factory.mktemp(case.name)
            config = write_case(case, folder, model, make_documents(case), compute_threads=1)
            found[case.name] = model, pool.submit(run_config, config)
        yield found


@pytest.mark.parametrize("case", FAMILY_CASES, ids=lambda case: case.name)
def test_family_equals_transformers(case, runs):
    model, result = runs[case.name]
    expected = loss_and_gradients(model, make_documents(case))
    loss, gradient, name = compare_all(result.result(), expected, TOLERANCE)
    worst_losses.append((loss, case.name))
    worst_gradients.append((gradient, case.name, name))


def test_worst_case(capsys):
    """Prints how close it was: the figure of the closing note."""
    if len(worst_losses) < len(FAMILY_CASES):
        pytest.skip("only after the whole table")
    (loss, loss_case), (gradient, case, name) = max(worst_losses), max(worst_gradients)
    with capsys.disabled():
        print(f"\nparity over {len(FAMILY_CASES)} cases: worst loss {loss:.1e} ({loss_case}), "
              f"worst gradient {gradient:.1e} of its norm ({case}, {name})")


def test_the_table_covers_what_it_says():
    assert len(FAMILY_CASES) >= 40
    assert len({case.name for case in FAMILY_CASES}) == len(FAMILY_CASES)
    found = {(c.model_type, c.fields["tie_word_embeddings"]) for c in FAMILY_CASES}
    assert found == set(product(VARIANTS, [False, True]))
    for family in VARIANTS:
        types = {c.fields["rope_parameters"]["rope_type"] for c in FAMILY_CASES if c.model_type == family}
        assert types == {rope["rope_type"] for rope in ROPES}, family
        ratios = {c.heads // c.kv_heads for c in FAMILY_CASES if c.model_type == family}
        assert {1, 3, 5} <= ratios, family


# A switch that our side ignored would show: transformers' own gradients without it are far away.
@pytest.mark.parametrize("field, value", [
    ("rms_norm_eps", 2e-2), ("sliding_window", 3), ("rope_parameters", {"rope_type": "linear", "factor": 2.0}),
])
def test_the_comparison_can_fail(field, value, tmp_path):
    case = next(c for c in FAMILY_CASES if c.model_type == "mistral" and c.fields["sliding_window"] == 5)
    result = run(case, tmp_path, make_model(case))
    fields = dict(case.fields)
    fields[field] = {**fields[field], **value} if isinstance(value, dict) else value
    other = make_model(type(case)(**{**vars(case), "fields": fields}))
    assert torch.equal(other.lm_head.weight, make_model(case).lm_head.weight)
    with pytest.raises(AssertionError, match="of its norm"):
        compare_gradients(result, loss_and_gradients(other, make_documents(case)), TOLERANCE)
