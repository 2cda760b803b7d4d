from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import CrossEntropyLoss

from streetgauge.errors import InputError
from streetgauge.model import binomial
from streetgauge.model.heads import HEADS, CumulativeLink, Head, check_labels, make_head

losses = pytest.importorskip("dlordinal.losses")
output_layers = pytest.importorskip("dlordinal.output_layers")

NAN = float("nan")
LIKELIHOODS = ("binomial", "clm")


def drawn(head: Head, rows: int = 40, outcomes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(rows, outcomes, head.outputs, generator=generator)
    target = torch.randint(1, head.classes + 1, (rows, outcomes), generator=generator).float()
    return z.requires_grad_(), target


@pytest.mark.parametrize("name", HEADS)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_probabilities_and_gradients_are_sound_for_any_scale_and_size(
    name: str, data: st.DataObject
) -> None:
    classes = data.draw(st.integers(2, 60))
    size = data.draw(st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    head = make_head(name, classes, 2)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    z = (size * torch.randn(5, 2, head.outputs, generator=generator)).to(dtype).requires_grad_()
    target = torch.randint(1, classes + 1, (5, 2), generator=generator).float()
    p = head.probabilities(z)
    assert p.shape == (5, 2, classes)
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(5, 2), rtol=1e-4, atol=1e-4)
    assert head.score(z).shape == (5, 2)
    assert head.score(z).isfinite().all()
    loss = head.loss(z, target, torch.ones(5, 2))
    assert loss.shape == (2,)
    loss.sum().backward()
    assert loss.isfinite().all()
    for tensor in (z, *head.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("name", HEADS)
def test_a_missing_label_has_no_weight_and_no_gradient(name: str) -> None:
    head = make_head(name, 6, 2)
    z, target = drawn(head, 4, 2)
    target[0] = torch.tensor([2.0, NAN])
    target[1:, 1] = NAN
    loss = head.loss(z, target, torch.ones(4, 2))
    loss.sum().backward()
    torch.testing.assert_close(loss[0], head.each(z, target)[:, 0].mean())
    assert loss[1] == 0
    assert z.grad is not None
    assert (z.grad[:, 1] == 0).all()
    assert (z.grad[:, 0] != 0).any(-1).all()


@pytest.mark.parametrize("name", HEADS)
def test_a_sample_of_weight_2_counts_as_two_and_one_of_0_not_at_all(name: str) -> None:
    head = make_head(name, 6, 2)
    z, target = drawn(head, 4, 2)
    weight = torch.tensor([[2.0, 1], [1, 0], [0, 3], [1, 1]])
    each = head.each(z, target)
    torch.testing.assert_close(head.loss(z, target, weight), (each * weight).sum(0) / weight.sum(0))
    repeated = head.loss(z[[0, 0, 1, 3]], target[[0, 0, 1, 3]])[0]
    torch.testing.assert_close(head.loss(z, target, weight)[0], repeated)
    assert head.loss(z, target, torch.zeros(4, 2)).tolist() == [0, 0]


@pytest.mark.parametrize("name", HEADS)
def test_outcomes_do_not_touch_each_other(name: str) -> None:
    together, alone = make_head(name, 7, 3), make_head(name, 7, 1)
    for tensor in together.state_dict().values():
        assert len(tensor) == 3
    z, target = drawn(together)
    torch.testing.assert_close(
        together.loss(z, target)[1:2], alone.loss(z[:, 1:2], target[:, 1:2]), rtol=1e-5, atol=1e-5
    )
    together.loss(z, target)[1].backward()
    assert z.grad is not None
    assert (z.grad[:, [0, 2]] == 0).all()
    for parameter in together.parameters():
        assert parameter.grad is not None
        assert (parameter.grad[[0, 2]] == 0).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_loss_of_a_likelihood_is_the_log_probability_of_the_label(name: str) -> None:
    head = make_head(name, 5, 3)
    z, target = drawn(head)
    p = head.probabilities(z).gather(-1, target.long().unsqueeze(-1) - 1).squeeze(-1)
    torch.testing.assert_close(head.each(z, target), -p.log())


def test_cumulative_links_are_those_of_dlordinal_with_the_same_thresholds() -> None:
    head = CumulativeLink(6, 2)
    generator = torch.Generator().manual_seed(0)
    for parameter in head.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    z, _ = drawn(head, outcomes=2)
    for m in range(2):
        theirs = output_layers.CLM(6, "logit")
        theirs.thresholds_b_.data = head.first[m].data
        theirs.thresholds_a_.data = head.log_gaps[m].data.exp().sqrt()
        torch.testing.assert_close(head.probabilities(z)[:, m], theirs(z[:, m]))


def test_cumulative_links_start_with_equally_probable_classes_and_keep_their_order() -> None:
    head = CumulativeLink(10, 1)
    p = head.probabilities(torch.zeros(1, 1, 1))
    torch.testing.assert_close(p, torch.full((1, 1, 10), 0.1))
    head.log_gaps.data[:] = torch.linspace(-60, 3, 8)
    assert (head.thresholds().diff() >= 0).all()
    z = torch.zeros(1, 1, 1, requires_grad=True)
    head.loss(z, torch.tensor([[3.0]])).sum().backward()  # a class of hardly any width
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert head.log_gaps.grad is not None
    assert head.log_gaps.grad.isfinite().all()


def test_far_from_its_class_a_cumulative_link_still_says_which_way_to_go() -> None:
    h = torch.full((1, 1, 1), -60.0, requires_grad=True)
    theirs = output_layers.CLM(10, "logit")
    assert theirs(h[0])[0, 4] == 0  # its logarithm is not a number
    head = CumulativeLink(10, 1)
    head.loss(h, torch.tensor([[5.0]])).sum().backward()
    assert h.grad is not None
    assert h.grad.item() == pytest.approx(-1)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("emd", lambda k: losses.EMDLoss(k)),
        ("exponential", lambda k: losses.ExponentialLoss(CrossEntropyLoss(), k)),
    ],
)
def test_losses_are_those_of_dlordinal(name: str, theirs: Any) -> None:
    head = make_head(name, 10, 3)
    z, target = drawn(head)
    expected = [theirs(10)(z[:, m], target[:, m].long() - 1) for m in range(3)]
    torch.testing.assert_close(head.loss(z, target), torch.stack(expected))


@pytest.mark.parametrize("name", HEADS)
def test_the_score_is_the_logit_of_the_expected_share_or_the_heads_own(name: str) -> None:
    head = make_head(name, 8, 3)
    z, _ = drawn(head)
    if name == "clm":
        centred = z[..., 0] - head.thresholds().mean(1)  # type: ignore[operator]
        torch.testing.assert_close(head.score(z), centred)
        return
    share = head.probabilities(z.double()).detach().numpy() @ np.arange(8) / 7
    np.testing.assert_allclose(head.score(z).detach().numpy(), logit(share), rtol=1e-4, atol=1e-5)


def test_scores_of_other_heads_are_on_the_scale_of_the_binomial() -> None:
    h = torch.linspace(-30, 30, 13)[:, None]
    as_logits = binomial.log_probabilities(h, 10)
    for name in ("emd", "exponential"):
        torch.testing.assert_close(make_head(name, 10, 1).score(as_logits), h)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_finds_the_order_of_a_simple_world(name: str) -> None:
    rng = np.random.default_rng(0)
    latent = rng.normal(size=600)
    classes = np.digitize(latent + 0.5 * rng.normal(size=600), [-1.2, -0.4, 0.4, 1.2]) + 1.0
    x = torch.from_numpy(np.stack([latent, rng.normal(size=600)], 1)).float()
    target = torch.from_numpy(np.stack([classes, 6 - classes], 1)).float()
    head = make_head(name, 5, 2)
    torch.manual_seed(0)
    layer = nn.Linear(2, 2 * head.outputs)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.1)
    for _ in range(150):
        z = layer(x).view(600, 2, head.outputs)
        optimizer.zero_grad()
        head.loss(z, target).sum().backward()
        optimizer.step()
    score = head.score(layer(x).view(600, 2, head.outputs)).detach().numpy()
    assert spearmanr(score[:, 0], latent).statistic > 0.97
    assert spearmanr(score[:, 1], latent).statistic < -0.97


def test_heads_need_no_torchvision() -> None:
    code = (
        "import sys; from streetgauge.model.heads import *; [make_head(n, 10, 1) for n in HEADS]; "
        "print('torchvision' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "classes", "reason"),
    [
        ("binomal", 10, "did you mean 'binomial'"),
        ("corn", 10, "there is no such head"),
        ("emd", 1, "it cannot have 1 classes; give 2 or more"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(name: str, classes: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        make_head(name, classes, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", [0.0, 6.0, 2.5, -1.0, np.inf])
def test_labels_outside_the_scale_are_named(label: float) -> None:
    target = np.array([[1, 5], [NAN, 2], [3, label]])
    check_labels(target[:2], 5, ["income", "health"])
    with pytest.raises(InputError, match=r"row 2, outcome 'health'.*none of the classes 1 to 5"):
        check_labels(target, 5, ["income", "health"])


def test_scores_of_cumulative_links_do_not_depend_on_where_their_thresholds_lie() -> None:
    head = CumulativeLink(5, 2)
    z, _ = drawn(head, outcomes=2)
    before = head.score(z)
    with torch.no_grad():
        head.first += torch.tensor([[3.0], [-2.0]])
    moved = z + torch.tensor([[3.0], [-2.0]])
    torch.testing.assert_close(head.score(moved), before)
