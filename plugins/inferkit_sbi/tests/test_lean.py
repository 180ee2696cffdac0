"""The quick ways through sbi's flows are those flows."""

import copy

import pytest
import torch
from inferkit_sbi.config import FEWEST, SPLINES, NPEConfig
from inferkit_sbi.density import Located, flow, ridge
from inferkit_sbi.lean import lean


def made(density, dim, wild=2.0):
    torch.manual_seed(dim)
    net = flow(density, dim, 3, NPEConfig(hidden=20, transforms=4))
    for parameter in net.made.parameters():
        parameter.data.mul_(wild)  # far from where they begin
    return net.made


def followed(f, net, z, c):
    """Values and the gradients of their sum."""
    net.zero_grad()
    at = z.clone().requires_grad_(True)
    value = f(at, c)
    value.sum().backward()
    return [value.detach(), at.grad, *[p.grad for p in net.parameters() if p.grad is not None]]


@pytest.mark.parametrize("density", ["maf", SPLINES, FEWEST, "zuko_nsf"])
@pytest.mark.parametrize("dim", [2, 5])
def test_the_same_density_and_gradients(density, dim):
    net = made(density, dim)
    z, c = 3 * torch.randn(500, dim), torch.randn(500, 3)
    z[0] = 4.99  # near a spline's ends, and beyond them
    z[1], z[2] = -4.99, 7.0
    quick = lean(net, dim, 3)
    assert quick is not None
    same = followed(quick, net, z, c)
    due = followed(lambda z, c: net.log_prob(z[None], c)[0], net, z, c)
    assert len(same) == len(due)
    for a, b in zip(same, due):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max().clamp(min=1)))


def test_a_copy_has_weights_of_its_own():
    net = flow("maf", 2, 3, NPEConfig(hidden=20))
    other = copy.deepcopy(net)
    z, c = torch.randn(50, 2), torch.randn(50, 3)
    before = other.log_prob(z[None], c)
    for parameter in net.parameters():
        parameter.data.add_(0.1)
    assert torch.equal(other.log_prob(z[None], c), before)
    assert not torch.allclose(net.log_prob(z[None], c), before)


@pytest.mark.parametrize("density", ["maf", SPLINES])
def test_weights_and_orders_of_a_file_are_followed(density):
    a, b = (flow(density, 2, 3, NPEConfig(hidden=20)) for _ in range(2))
    for part in a.modules():
        if hasattr(part, "_permutation"):  # orders of one that was built with other luck
            part._permutation = part._permutation.flip(0)
    b.load_state_dict(a.state_dict())
    z, c = torch.randn(50, 2), torch.randn(50, 3)
    assert torch.allclose(b.log_prob(z[None], c), a.log_prob(z[None], c))
    assert torch.allclose(b.lean(z, c), b.made.log_prob(z[None], c)[0], atol=1e-4)


def test_another_flow_or_other_numbers_go_the_long_way():
    assert lean(made("zuko_maf", 2), 2, 3) is None
    net = made("maf", 2)
    net.net._transform._transforms[0]._epsilon = 0.5  # as another version might have it
    assert lean(net, 2, 3) is not None  # it is read
    net.net._transform._transforms[0].forward = lambda z, c: (z, torch.zeros(len(z)))
    assert lean(net, 2, 3) is None


def test_training_begins_at_the_linear_gaussian():
    torch.manual_seed(0)
    c = torch.randn(400, 3)
    noise = torch.randn(400, 2) @ torch.tensor([[0.1, 0.2], [0.0, 0.05]])
    z = c @ torch.tensor([[1.0, 0.0], [0.5, -1.0], [0.0, 0.0]]) + 0.3 + noise
    net = flow("maf", 2, 3, NPEConfig())
    assert isinstance(net, Located)
    net.begin(z, c)
    slope = net.line.weight.detach()
    assert torch.allclose(slope, torch.tensor([[1.0, 0.5, 0.0], [0.0, -1.0, 0.0]]), atol=0.05)
    spread = net.spread @ net.spread.T
    assert torch.allclose(spread, torch.tensor([[0.01, 0.02], [0.02, 0.0425]]), rtol=0.2)
    # Draws are where the density is.
    drawn = net.sample((2000,), c[:1])[:, 0]
    assert (drawn.mean(0) - (c[0] @ slope.T + net.line.bias.detach())).abs().max() < 0.3
    own, far = net.log_prob(drawn[:, None], c[:1]), net.log_prob(drawn[:, None] + 3, c[:1])
    assert own.mean() > far.mean() + 5


def test_few_rows_of_many_numbers_make_no_line():
    torch.manual_seed(1)
    slope, _, spread = ridge(torch.randn(60, 40, dtype=torch.float64),
                             torch.randn(60, 1, dtype=torch.float64))
    assert slope.abs().max() < 0.2 and 0.8 < float(spread[0, 0]) < 1.4
