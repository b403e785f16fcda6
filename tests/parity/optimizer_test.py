"""AdamW and clipping against PyTorch: the same gradients at lr 1e-3, weight-decay groups; 10 steps, and 100."""

import os
import pathlib
import struct
import subprocess

import numpy
import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PENSTOCK_BUILD_DIR", ROOT / "build" / "release"))
DRIVER = BUILD / "tests" / "optimizer_driver"

SEED = 1234
STEPS = 10
FORMATS = ["exact", "float32", "compact", "compact8"]  # as in StateFormat
BETAS = (0.9, 0.95)
SHAPES = [((96, 64), True), ((64,), False), ((3, 70001), True), ((17,), False), ((1,), True)]  # (shape, decays)


def make_inputs(round_gradients, steps=STEPS):
    """Weights of trained size; gradients over many binades, on both sides of the clipping border."""
    generator = torch.Generator().manual_seed(SEED)
    weights = [0.05 * torch.randn(shape, generator=generator) for shape, _ in SHAPES]
    gradients = []
    for step in range(steps):
        scale = 10.0 ** (step % 3 - 4)
        per_tensor = [
            scale * torch.randn(shape, generator=generator) * torch.exp(torch.randn(shape, generator=generator))
            for shape, _ in SHAPES
        ]
        gradients.append([g.bfloat16().float() if round_gradients else g for g in per_tensor])
    return weights, gradients


def run_penstock(tmp_path, weights, gradients, state_format, decay=0.1, max_norm=1.0):
    source, target = tmp_path / "input.bin", tmp_path / "output.bin"
    counts = (FORMATS.index(state_format), len(gradients), len(weights))
    header = struct.pack("<3q6d", *counts, 1e-3, *BETAS, 1e-8, decay, max_norm)
    places = b"".join(struct.pack("<2q", decays, w.numel()) for w, (_, decays) in zip(weights, SHAPES))
    blobs = [w.numpy().tobytes() for w in weights] + [g.numpy().tobytes() for step in gradients for g in step]
    source.write_bytes(header + places + b"".join(blobs))
    subprocess.run([DRIVER, source, target], check=True, timeout=120)
    raw = target.read_bytes()
    count = sum(w.numel() for w in weights)
    flat = torch.from_numpy(numpy.frombuffer(raw, dtype=numpy.float32, count=count).copy())
    norms = numpy.frombuffer(raw, dtype=numpy.float64, offset=4 * count).tolist()
    parts = torch.split(flat, [w.numel() for w in weights])
    return [part.reshape(w.shape) for part, w in zip(parts, weights)], norms


def run_torch(weights, gradients, decay=0.1, max_norm=1.0):
    parameters = [torch.nn.Parameter(w.clone()) for w in weights]
    groups = [
        {"params": [p for p, (_, decays) in zip(parameters, SHAPES) if decays], "weight_decay": decay},
        {"params": [p for p, (_, decays) in zip(parameters, SHAPES) if not decays], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=BETAS, eps=1e-8)
    norms = []
    for step in gradients:
        for parameter, gradient in zip(parameters, step):
            parameter.grad = gradient.clone()
        if max_norm > 0:
            norms.append(torch.nn.utils.clip_grad_norm_(parameters, max_norm).item())
        optimizer.step()
    return [p.detach() for p in parameters], norms


def relative_error(actual, expected):
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def assert_close(actual, expected):
    for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert relative_error(a, e) <= 1e-6, f"tensor {index}: {relative_error(a, e):.2e}, seed {SEED}"


@pytest.mark.parametrize("max_norm", [1.0, 0.0])
@pytest.mark.parametrize("decay", [0.1, 0.0])
def test_float32_equals_torch(tmp_path, decay, max_norm):
    weights, gradients = make_inputs(round_gradients=False)
    ours, _ = run_penstock(tmp_path, weights, gradients, "float32", decay, max_norm)
    theirs, _ = run_torch(weights, gradients, decay, max_norm)
    assert_close(ours, theirs)


def test_norms_equal_torch_and_some_steps_clip(tmp_path):
    weights, gradients = make_inputs(round_gradients=False)
    _, ours = run_penstock(tmp_path, weights, gradients, "float32")
    _, theirs = run_torch(weights, gradients)
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert min(ours) < 1.0 < max(ours)


def test_exact_equals_float32_on_the_same_bf16_gradients(tmp_path):
    """Without clipping: the norms of bf16 and of fp32 gradients are summed in different orders."""
    weights, gradients = make_inputs(round_gradients=True)
    exact, exact_norms = run_penstock(tmp_path, weights, gradients, "exact", max_norm=0.0)
    float32, float32_norms = run_penstock(tmp_path, weights, gradients, "float32", max_norm=0.0)
    assert exact_norms == pytest.approx(float32_norms, rel=1e-7)
    for a, b in zip(exact, float32, strict=True):
        assert torch.equal(a, b)
    clipped, _ = run_penstock(tmp_path, weights, gradients, "exact")
    theirs, _ = run_torch(weights, gradients)
    assert_close(clipped, theirs)


def deviation(actual, expected, start):
    """Of the way from the start: how far the two ends are apart, and the part of it that lies along the way."""
    way, apart = expected.double() - start.double(), actual.double() - expected.double()
    return (apart.norm() / way.norm()).item(), ((apart * way).sum() / way.norm() ** 2).item()


# A bf16 weight of 0.05 is rounded by up to 2.4e-4 in each step of 1e-3, without bias: after 100 steps the compact
# formats are an eighth of the way off, but in no direction. `along` would see a missing part of the formula.
@pytest.mark.parametrize(
    ("state_format", "apart", "along"),
    [("exact", 2e-6, 1e-7), ("float32", 2e-6, 1e-7), ("compact", 0.16, 2e-3), ("compact8", 0.18, 4e-3)],
)
@pytest.mark.parametrize("decay", [0.1, 0.0])
def test_hundred_steps_follow_torch(tmp_path, state_format, apart, along, decay):
    weights, gradients = make_inputs(round_gradients=True, steps=100)
    ours, _ = run_penstock(tmp_path, weights, gradients, state_format, decay)
    theirs, _ = run_torch(weights, gradients, decay)
    seen = [deviation(a, b, w) for a, b, w in zip(ours, theirs, weights, strict=True) if w.numel() > 1000]
    assert len(seen) == 2
    for distance, bias in seen:
        assert distance <= apart and abs(bias) <= along, f"{seen}, seed {SEED}"


@pytest.mark.parametrize("missing", ["decay", "clipping", "bias correction"])
def test_comparison_sees_what_is_missing(tmp_path, missing):
    """The tolerance is far below the effect of each part, so that losing one cannot pass."""
    weights, gradients = make_inputs(round_gradients=False)
    ours, _ = run_penstock(tmp_path, weights, gradients, "float32")
    if missing == "bias correction":
        theirs = run_without_bias_correction(weights, gradients)
    else:
        decay = 0.0 if missing == "decay" else 0.1
        max_norm = 0.0 if missing == "clipping" else 1.0
        theirs, _ = run_torch(weights, gradients, decay, max_norm)
    changed = [relative_error(a, b) for (a, b, (_, decays)) in zip(ours, theirs, SHAPES) if decays]
    assert min(changed) > 1e-5


def run_without_bias_correction(weights, gradients):
    results = [w.clone() for w in weights]
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    for step in gradients:
        clip = min(1.0, 1.0 / (torch.cat([g.flatten() for g in step]).norm().item() + 1e-6))
        for weight, (m, v), gradient, (_, decays) in zip(results, moments, step, SHAPES):
            g = gradient * clip
            m.lerp_(g, 1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            weight.mul_(1 - 1e-4 if decays else 1.0).sub_(1e-3 * m / (v.sqrt() + 1e-8))
    return results
