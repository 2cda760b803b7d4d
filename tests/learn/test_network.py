from __future__ import annotations

import pytest
import torch
from torch import nn

from streetgauge.learn.network import Network, StackedBatchNorm

ALL = torch.ones(5, 3, dtype=torch.bool)


def plain_network(network: Network, m: int) -> nn.Sequential:
    """The network of one outcome, put together from torch's own layers."""

    def layers(block: nn.Module) -> list[nn.Module]:
        inputs, outputs = block.dense.weight.shape[1:]
        dense = nn.Linear(inputs, outputs)
        dense.weight.data = block.dense.weight.data[m].T.contiguous()
        dense.bias.data = block.dense.bias.data[m]
        if block.norm is None:
            return [dense, nn.ReLU()]
        norm = nn.BatchNorm1d(outputs)
        norm.weight.data, norm.bias.data = block.norm.weight.data[m], block.norm.bias.data[m]
        return [dense, norm, nn.ReLU()]

    last = nn.Linear(64, 1)
    last.weight.data, last.bias.data = network.score.weight.data[m].T, network.score.bias.data[m]
    view = nn.Sequential(*(layer for block in network.views for layer in layers(block)))
    return nn.Sequential(view, nn.Sequential(*layers(network.location), last))


@pytest.mark.parametrize("variant", ["paper-2019", "port-2020"])
def test_a_stack_is_as_many_plain_networks_of_torch(variant: str) -> None:
    network = Network(7, [1, 2, 3], variant)
    x = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        network.train(mode)
        stacked = network(x, ALL)
        for m in range(3):
            view, rest = plain_network(network, m).train(True)
            if mode or variant == "port-2020":
                alone = rest(view(x.flatten(0, 1)).view(5, 3, 128).mean(1))[:, 0]
                torch.testing.assert_close(stacked[:, m], alone, rtol=1e-4, atol=1e-5)


def test_running_values_of_batch_norm_follow_the_data_from_the_first_batch() -> None:
    norm = StackedBatchNorm(2, 3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        norm(5 + 2 * torch.randn(400, 2, 3, generator=generator))
    torch.testing.assert_close(norm.running_mean, torch.full((2, 3), 5.0), atol=0.2, rtol=0)
    torch.testing.assert_close(norm.running_variance, torch.full((2, 3), 4.0), atol=0.5, rtol=0)
    norm.eval()
    assert norm(torch.full((1, 2, 3), 5.0)).abs().max() < 0.1


def test_an_absent_view_is_not_looked_at() -> None:
    network = Network(4, [1]).train()
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    present = ALL.clone()
    present[0, 1] = present[3, 0] = present[3, 2] = False
    there = network(x, present)
    spoilt = x.clone()
    spoilt[~present] = float("nan")
    torch.testing.assert_close(network(spoilt, present), there, rtol=0, atol=0)
    assert not torch.allclose(network(x, ALL), there)


def test_the_mean_is_over_the_views_that_are_there() -> None:
    network = Network(4, [1]).eval()
    x = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[True, False, True, False]])
    two = torch.ones(1, 2, dtype=torch.bool)
    torch.testing.assert_close(network(x, present), network(x[:, [0, 2]], two))


def test_first_weights_depend_on_the_networks_own_seed_alone() -> None:
    together, alone = Network(6, [7, 8, 9]), Network(6, [8])
    for name, tensor in together.state_dict().items():
        torch.testing.assert_close(tensor[1], alone.state_dict()[name][0], rtol=0, atol=0)
    assert not torch.equal(together.score.weight[0], together.score.weight[1])


def test_first_weights_are_xavier_normal() -> None:
    weight = Network(1000, [3]).views[0].dense.weight
    assert weight.std().item() == pytest.approx((2 / (1000 + 512)) ** 0.5, rel=0.01)
    assert abs(weight.mean().item()) < 1e-3
