"""The networks, and mixup."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import Tensor, nn

from streetgauge.model.heads import make_head
from streetgauge.model.network import (
    FEW_OUTPUTS,
    Mixup,
    Network,
    StackedBatchNorm,
    StackedLinear,
    view_widths,
)
from streetgauge.settings import TrainSettings

ALL = torch.ones(5, 3, dtype=torch.bool)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def dense(block: nn.Module, x: np.ndarray, m: int) -> np.ndarray:
    weight, bias = (p.detach().double().numpy()[m] for p in block.dense.parameters())
    return np.maximum(x @ weight + bias, 0)


def by_hand(network: Network, x: np.ndarray, m: int, trunk: int) -> np.ndarray:
    """Compute one outcome's output by NumPy in float64: dense, ReLU, mean over views, dense."""
    seen = x.astype(np.float64)
    for block in network.views:
        seen = dense(block, seen, trunk)
    if network.attention is None:
        pooled = seen.mean(1)
    else:
        weight, bias = (p.detach().double().numpy() for p in network.attention.inner.parameters())
        outer = network.attention.outer.weight.detach().double().numpy()[trunk]
        logits = np.tanh(seen @ weight[trunk] + bias[trunk]) @ outer
        pooled = (seen * softmax(logits, axis=1)).sum(1)
    last = dense(network.location, pooled, m)
    weight, bias = (p.detach().double().numpy()[m] for p in network.score.parameters())
    said = (last @ weight + bias)[:, 0]
    if network.direct is not None:
        weight, bias = (p.detach().double().numpy()[m] for p in network.direct.parameters())
        said = said + (x.astype(np.float64).mean(1) @ weight + bias)[:, 0]
    return said


def shaken(network: Network) -> Network:
    """Move every parameter off its first value: zeros hide mistakes."""
    generator = torch.Generator().manual_seed(9)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


@pytest.mark.parametrize("variant", ["port-2020", "shared"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_scores_and_probabilities_equal_numpy_in_float64(variant: str, pooling: str) -> None:
    network = shaken(
        Network(
            40,
            [1, 2],
            TrainSettings(network=variant, pooling=pooling, ensemble_size=1, dropout=0.0),
        )
    )
    x = normal(6, 4, 40)
    with torch.inference_mode():
        outputs = network(x)
        score = network.head.score(outputs)
        probabilities = network.head.probabilities(outputs)
    for m in range(2):
        h = by_hand(network, x.numpy(), m, 0 if variant == "shared" else m)
        np.testing.assert_allclose(score[:, m], h, atol=1e-5, rtol=1e-5)
        p = expit(h)[:, None]
        k = np.arange(10)
        ways = np.array([1, 9, 36, 84, 126, 126, 84, 36, 9, 1])
        expected = ways * p**k * (1 - p) ** (9 - k)
        np.testing.assert_allclose(probabilities[:, m], expected, atol=1e-5)


@pytest.mark.parametrize("variant", ["shared", "port-2020", "paper-2019"])
def test_joined_networks_say_the_mean_of_what_each_says_alone(variant: str) -> None:
    alone = [
        shaken(
            Network(
                8, [seed, seed + 1], TrainSettings(network=variant, ensemble_size=1, dropout=0.0)
            )
        )
        for seed in (1, 11, 21)
    ]
    for network, factor in zip(alone, (1.0, 0.5, 2.0), strict=True):
        network.score.weight.data *= factor
    x = normal(5, 3, 8)
    with torch.inference_mode():
        each = torch.stack([network(x) for network in alone])
        joined = Network.joined(alone)
        torch.testing.assert_close(joined(x), each.mean(0))
        assert each.std(0).min() > 1e-3
        rest = Network(8, [1, 2], TrainSettings(network=variant, ensemble_size=3, dropout=0.0))
        rest.load_state_dict(joined.state_dict())
        torch.testing.assert_close(rest.eval()(x), joined(x))
        for e, network in enumerate(alone):
            torch.testing.assert_close(joined.member(e)(x), network(x))
    for e in range(3):
        for m in range(2 if variant == "shared" else 0):
            said = by_hand(joined, x.numpy(), e * 2 + m, e)
            np.testing.assert_allclose(each[e, :, m, 0], said, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["paper-2019", "port-2020", "shared"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_picked_outcomes_give_what_they_gave_among_all(variant: str, pooling: str) -> None:
    network = Network(
        8, [1, 2, 3], TrainSettings(network=variant, pooling=pooling, ensemble_size=2, dropout=0.0)
    )
    network.train()(normal(20, 3, 8))  # batch norm has seen something
    shaken(network)
    x = normal(5, 3, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network.pick([2, 0])(x), network(x)[:, [2, 0]])


@pytest.mark.parametrize("variant", ["port-2020", "shared"])
def test_a_calibrated_network_gives_a_plus_b_times_its_output(variant: str) -> None:
    network = shaken(
        Network(8, [1, 2], TrainSettings(network=variant, ensemble_size=2, dropout=0.0))
    )
    x, a, b = normal(5, 3, 8), torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    with torch.inference_mode():
        expected = a[:, None] + b[:, None] * network(x)
        torch.testing.assert_close(network.calibrated(a, b)(x), expected)


def test_attention_starts_as_the_mean_and_does_not_mind_the_order_of_views() -> None:
    network = Network(
        8,
        [1, 2],
        TrainSettings(network="shared", pooling="attention", ensemble_size=1, dropout=0.0),
    ).eval()
    x = normal(5, 3, 8)
    mean = Network(8, [1, 2], TrainSettings(network="shared", ensemble_size=1, dropout=0.0)).eval()
    torch.testing.assert_close(network(x), mean(x))
    shaken(network)
    torch.testing.assert_close(network(x), network(x[:, [2, 0, 1]]))
    assert not torch.allclose(network(x), shaken(mean)(x), atol=1e-3)


def test_dropout_is_for_training_only_and_follows_its_own_generator() -> None:
    network = Network(8, [1], TrainSettings(network="shared", dropout=0.5, ensemble_size=1))
    x = normal(5, 3, 8)
    torch.testing.assert_close(network.eval()(x), network(x), rtol=0, atol=0)
    network.train()

    def drawn(seed: int) -> torch.Tensor:
        network.dropout.generator = torch.Generator().manual_seed(seed)
        return network(x)

    torch.testing.assert_close(drawn(1), drawn(1), rtol=0, atol=0)
    assert not torch.equal(drawn(1), drawn(2))


def test_dropout_sets_its_share_to_0_and_leaves_the_mean_as_it_was() -> None:
    dropout = Network(
        8, [1], TrainSettings(network="shared", dropout=0.25, ensemble_size=1)
    ).dropout.train()
    dropout.generator = torch.Generator().manual_seed(0)
    said = dropout(torch.full((20_000,), 3.0))
    assert set(said.unique().tolist()) == {0.0, 4.0}
    assert (said == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert said.mean().item() == pytest.approx(3.0, rel=0.01)


def test_running_values_of_batch_norm_follow_the_data_from_the_first_batch() -> None:
    norm = StackedBatchNorm(2, 3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        norm(5 + 2 * torch.randn(400, 2, 3, generator=generator))
    torch.testing.assert_close(norm.running_mean, torch.full((2, 3), 5.0), atol=0.2, rtol=0)
    torch.testing.assert_close(norm.running_variance, torch.full((2, 3), 4.0), atol=0.5, rtol=0)
    norm.eval()
    assert norm(torch.full((1, 2, 3), 5.0)).abs().max() < 0.1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            {"network": "shared", "pooling": "attention", "dropout": 0.3, "head": "clm"},
            ("shared", "attention", 0.3, "clm"),
        ),
        (
            {"network": "shared", "pooling": "mean", "dropout": 0.0, "head": "binomial"},
            ("shared", "mean", 0.0, "binomial"),
        ),
        (
            {"network": "paper-2019", "pooling": "attention", "dropout": 0.1, "head": "clm"},
            ("own, normed", "attention", 0.1, "clm"),
        ),
        (
            {"network": "port-2020", "pooling": "mean", "dropout": 0.2, "head": "emd"},
            ("own", "mean", 0.2, "emd"),
        ),
    ],
)
def test_the_network_is_the_one_that_settings_describe(
    said: dict[str, object], kind: tuple[str, str, float, str]
) -> None:
    network = Network(8, [1, 2], TrainSettings(**said, ensemble_size=3, width=96), classes=5)
    trunk = "shared" if network.shared else "own"
    trunk += ", normed" if network.location.norm is not None else ""
    pooling = "mean" if network.attention is None else "attention"
    assert (trunk, pooling, network.dropout.share, network.head.name) == kind
    assert (network.ensemble_size, network.width, network.head.classes) == (3, 96, 5)


def test_joined_networks_have_the_mean_of_their_thresholds() -> None:
    ones = [
        Network(
            8,
            [seed, seed + 1],
            TrainSettings(network="shared", head="clm", ensemble_size=1, dropout=0.0),
        )
        for seed in (1, 5)
    ]
    for i, network in enumerate(ones):
        network.head.first.data += 1.0 + i
    whole = Network.joined(ones)
    expected = (ones[0].head.first + ones[1].head.first) / 2
    torch.testing.assert_close(whole.head.first, expected)
    assert not torch.allclose(whole.head.first, ones[0].head.first)


@pytest.mark.parametrize("variant", ["paper-2019", "shared"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_an_absent_view_is_not_looked_at(variant: str, pooling: str) -> None:
    network = Network(
        4, [1], TrainSettings(network=variant, pooling=pooling, ensemble_size=1, dropout=0.0)
    ).train()
    for parameter in network.parameters():
        parameter.data += 0.1
    x = normal(5, 3, 4)
    present = ALL.clone()
    present[0, 1] = present[3, 0] = present[3, 2] = False
    there = network(x, present)
    spoilt = x.clone()
    spoilt[~present] = float("nan")
    torch.testing.assert_close(network(spoilt, present), there, rtol=0, atol=0)
    assert not torch.allclose(network(x, ALL), there)


@pytest.mark.parametrize("variant", ["port-2020", "shared"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_views_that_are_absent_are_as_if_the_location_had_fewer(variant: str, pooling: str) -> None:
    network = shaken(
        Network(
            4, [1], TrainSettings(network=variant, pooling=pooling, ensemble_size=1, dropout=0.0)
        )
    )
    x = normal(1, 4, 4)
    present = torch.tensor([[True, False, True, False]])
    torch.testing.assert_close(network(x, present), network(x[:, [0, 2]]))


def test_first_weights_depend_on_the_networks_own_seed_alone() -> None:
    together, alone = (
        Network(6, [7, 8, 9], TrainSettings(network="paper-2019", ensemble_size=1, dropout=0.0)),
        Network(6, [8], TrainSettings(network="paper-2019", ensemble_size=1, dropout=0.0)),
    )
    for name, tensor in together.state_dict().items():
        torch.testing.assert_close(tensor[1], alone.state_dict()[name][0], rtol=0, atol=0)
    assert not torch.equal(together.score.weight[0], together.score.weight[1])


def stack(networks: int, inputs: int, outputs: int, *, one_product: bool = False) -> StackedLinear:
    chance = [torch.Generator().manual_seed(m) for m in range(networks)]
    layer = StackedLinear(chance, inputs, outputs, one_product=one_product)
    layer.bias.data = normal(networks, outputs)
    return layer


@pytest.mark.parametrize(
    ("networks", "outputs"), [(3, 1), (FEW_OUTPUTS, 1), (4, 9), (FEW_OUTPUTS + 1, 1), (13, 9)]
)
def test_one_product_of_networks_and_many_are_the_same(networks: int, outputs: int) -> None:
    layer = stack(networks, 8, outputs, one_product=True)
    x = normal(5, networks, 8).requires_grad_()
    said = layer(x)
    expected = torch.einsum("rmi,mio->rmo", x, layer.weight) + layer.bias
    torch.testing.assert_close(said, expected)
    weigh = normal(*said.shape)
    parameters = [x, layer.weight, layer.bias]
    found = torch.autograd.grad((said * weigh).sum(), parameters)
    torch.testing.assert_close(found, torch.autograd.grad((expected * weigh).sum(), parameters))


@pytest.mark.parametrize("variant", ["paper-2019", "port-2020"])
def test_an_outcome_whose_numbers_are_none_leaves_the_others_as_they_are(variant: str) -> None:
    network = shaken(
        Network(8, [1, 2, 3], TrainSettings(network=variant, ensemble_size=1, dropout=0.0))
    )
    x = normal(5, 4, 8)
    network.location.dense.bias.data[0] = np.inf
    said = network(x)
    assert not said[:, 0].isfinite().any()
    torch.testing.assert_close(said[:, 1:], network.pick([1, 2])(x))
    loss = said[:, 1:].sum()
    assert torch.autograd.grad(loss, network.score.weight)[0][1:].isfinite().all()


def test_the_linear_path_is_the_mean_of_what_it_gives_of_each_view_that_is_there() -> None:
    network = Network(8, [1, 2], TrainSettings(network="shared", ensemble_size=1, dropout=0.0))
    torch.nn.init.normal_(network.direct.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
    torch.nn.init.zeros_(network.score.weight)  # nothing but the linear path speaks
    features, present = normal(5, 3, 8), ALL.clone()
    present[2, 1] = present[4, :2] = False
    each = network(features.flatten(0, 1)[:, None])[..., 0].view(5, 3, 2)
    expected = torch.where(present[..., None], each, 0).sum(1) / present.sum(1)[:, None]
    features[~present] = torch.nan
    torch.testing.assert_close(network(features, present)[..., 0], expected)


@pytest.mark.parametrize("variant", ["paper-2019", "port-2020", "shared"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_network_computes_in_the_precision_of_the_features(variant: str, pooling: str) -> None:
    network = shaken(
        Network(
            20,
            [1, 2],
            TrainSettings(network=variant, pooling=pooling, ensemble_size=2, dropout=0.0),
        )
    )
    x = normal(6, 3, 20)
    seen: list[torch.dtype] = []
    network.location.register_forward_hook(lambda *said: seen.append(said[2].dtype))
    for dtype in (torch.bfloat16, torch.float32):
        said = network(x.to(dtype))
        assert said.dtype == torch.float32  # what is said is not rounded
        torch.testing.assert_close(said, network(x), atol=0.05, rtol=0.05)
    assert seen == [torch.bfloat16, torch.float32, torch.float32, torch.float32]
    network.train()(x.bfloat16()).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_outputs_of_what_is_not_trained_are_not_rounded_to_the_features_precision() -> None:
    network = shaken(
        Network(20, [1, 2], TrainSettings(network="port-2020", ensemble_size=1, dropout=0.0))
    )
    x = normal(50, 3, 20).bfloat16()
    for training in (True, False):
        said = network.train(training)(x)
        assert torch.equal(said, said.bfloat16().float()) == training


@pytest.mark.parametrize(
    ("settings", "widths"),
    [
        ({}, (512, 256, 128)),
        ({"components": 64}, (128, 64, 64)),
        ({"components": 64, "width": 300}, (300, 150, 75)),
        ({"width": 128}, (128, 64, 64)),
        ({"width": 10}, (10, 10, 10)),
    ],
)
def test_the_view_layers_are_as_wide_as_the_settings_say(
    settings: dict[str, int], widths: tuple[int, ...]
) -> None:
    network = Network(80, [1], TrainSettings.model_validate(settings))
    assert tuple(block.dense.weight.shape[2] for block in network.views) == widths
    assert view_widths(widths[0]) == widths
    assert network.location.dense.weight.shape[1:] == (widths[2], min(64, widths[0]))


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant(share: float, size: int = 5) -> Mixup:
    return Mixup(torch.full((size,), share))


def test_shares_are_even_between_nothing_and_all_and_follow_the_seed() -> None:
    share = Mixup.draw(20_000, chance()).share
    assert 0 <= share.min() < 0.001 < 0.999 < share.max() <= 1
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(1 / 12, abs=0.003)
    assert torch.equal(share, Mixup.draw(20_000, chance()).share)
    assert not torch.equal(share, Mixup.draw(20_000, chance(1)).share)


@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 3)])
def test_a_location_is_put_on_the_line_to_its_partner(shape: tuple[int, ...]) -> None:
    said = torch.randn(shape, generator=chance())
    torch.testing.assert_close(constant(1.0).mixed(said), said)
    torch.testing.assert_close(constant(0.0).mixed(said), said.flip(0))
    mixed = Mixup(torch.tensor([0.25, 1, 0, 1, 1])).mixed(said)
    torch.testing.assert_close(mixed[0], 0.25 * said[0] + 0.75 * said[4])
    torch.testing.assert_close(mixed[2], said[2])  # in the middle it is its own partner


def test_the_loss_counts_both_labels_by_their_shares() -> None:
    share, head = Mixup.draw(6, chance()), make_head("binomial", 10, 2)
    outputs = torch.randn(6, 2, 1, generator=chance(1))
    target = torch.tensor([[1, 4], [2, torch.nan], [3, 5], [10, 1], [7, 7], [9, 2]])
    weight = torch.rand(6, 2, generator=chance(2))
    found = head.loss(*share.labelled(outputs, target, weight))
    for m in range(2):
        total = counted = 0.0
        for i in range(6):
            for label, part in ((i, share.share[i]), (5 - i, 1 - share.share[i])):
                if not target[label, m].isnan():
                    one = head.loss(outputs[i : i + 1], target[label : label + 1])[m]
                    total += float(part * weight[label, m] * one)
                    counted += float(part * weight[label, m])
        assert float(found[m]) == pytest.approx(total / counted, rel=1e-5)


@pytest.mark.parametrize("variant", ["shared", "port-2020"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_network_mixes_what_it_pools_and_what_its_linear_path_says(
    variant: str, pooling: str
) -> None:
    network = Network(
        8, [1, 2], TrainSettings(network=variant, pooling=pooling, ensemble_size=1, dropout=0.0)
    )  # type: ignore[arg-type]
    if network.direct is not None:
        torch.nn.init.normal_(network.direct.weight, generator=chance())
    features = torch.randn(5, 3, 8, generator=chance(3))
    present = torch.rand(5, 3, generator=chance(4)) < 0.7
    present[:, 0] = True
    plain = network(features, present)
    torch.testing.assert_close(network(features, present, mixup=constant(1.0)), plain)
    torch.testing.assert_close(network(features, present, mixup=constant(0.0)), plain.flip(0))
    half = network(features, present, mixup=constant(0.5))
    torch.testing.assert_close(half, half.flip(0))
    assert not torch.allclose(half, plain)


def test_the_linear_path_of_a_mixture_is_that_of_the_mixed_features() -> None:
    network = Network(8, [1], TrainSettings(network="shared", ensemble_size=1, dropout=0.0))
    torch.nn.init.normal_(network.direct.weight, generator=chance())  # type: ignore[union-attr]
    torch.nn.init.zeros_(network.score.weight)  # nothing but the linear path speaks
    features = torch.randn(6, 2, 8, generator=chance(3))
    share = Mixup.draw(6, chance(1))

    def mixed(views: Tensor) -> Tensor:
        return torch.lerp(views.flip(0), views, share.share[:, None, None])

    torch.testing.assert_close(network(features, mixup=share), network(mixed(features)))
