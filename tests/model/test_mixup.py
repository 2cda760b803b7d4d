from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streetgauge.model.heads import make_head
from streetgauge.model.network import Mixup, Network
from streetgauge.settings import TrainSettings


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
