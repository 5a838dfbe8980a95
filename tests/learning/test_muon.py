import pytest
import torch

from bige_opensim.learning.muon import ADAM_SHARE, Muon, orthogonalised


@pytest.mark.parametrize("shape", [(12, 12), (30, 8), (8, 30)])
def test_an_orthogonalised_matrix_keeps_its_directions_and_loses_its_sizes(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, size, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix)
    along = torch.diagonal(u.T @ found @ v.T)
    assert float(size.max() / size.min()) > 1.5
    assert 0.6 < float(along.min()) <= float(along.max()) < 1.3
    torch.testing.assert_close(u @ torch.diag(along) @ v, found, atol=1e-9, rtol=0)


def test_what_is_no_matrix_moves_as_adam_moves_it_and_all_of_it_learns() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2))
    start, bias = [p.detach().clone() for p in model.parameters()], torch.nn.Parameter(model[0].bias.detach().clone())
    optimiser = Muon(model, model[2].parameters(), lr=0.01, weight_decay=0.0)
    adam = torch.optim.Adam([bias], lr=0.01 * ADAM_SHARE)
    x, y = torch.randn(64, 4), torch.randn(64, 2)
    losses = []
    for _ in range(60):
        loss = (model(x) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        bias.grad = model[0].bias.grad.clone()
        optimiser.step()
        adam.step()
        losses.append(float(loss.detach()))
    torch.testing.assert_close(model[0].bias, bias)
    assert losses[-1] < 0.9 * losses[0]
    assert all(not torch.equal(p, before) for p, before in zip(model.parameters(), start, strict=True))
    step = 0.2 * 0.01 * max(start[0].shape) ** 0.5
    assert float((model[0].weight - start[0]).detach().norm()) < 60 * 1.3 * step * min(start[0].shape) ** 0.5


def test_a_state_can_be_taken_up_again() -> None:
    def trained(steps: int, stop: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 3)
        optimiser = Muon(model, (), lr=0.1, weight_decay=0.01)
        x = torch.randn(16, 3)
        for step in range(steps):
            if step == stop:
                kept = optimiser.state_dict()
                optimiser = Muon(model, (), lr=0.1, weight_decay=0.01)
                optimiser.load_state_dict(kept)
            optimiser.zero_grad()
            (model(x) - 1.0).square().mean().backward()
            optimiser.step()
        return model.weight.detach()

    assert torch.equal(trained(8, None), trained(8, 4))
