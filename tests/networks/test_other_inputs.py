"""Masks around networks for sound, text, tables and images of other than three channels; every snippet of the page runs."""

import copy
import io
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import MultiHeadNetwork, Network, Site, masked

PAGE = Path(__file__).parents[2] / "docs" / "other-inputs.md"
SECTIONS = {
    part.splitlines()[0]: re.findall(r"```python\n(.*?)```", part, flags=re.S)
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
}


def count_of(inputs):
    return (inputs[0] if isinstance(inputs, tuple) else inputs).shape[0]


@pytest.mark.parametrize("title", SECTIONS)
def test_every_snippet_runs_and_masks_are_what_they_say(title, capsys):
    assert SECTIONS[title]
    names = {}
    for snippet in SECTIONS[title]:
        torch.manual_seed(0)
        exec(compile(snippet, f"{PAGE.name}, {title}", "exec"), names)
        said = [line.split("# ")[1] for line in snippet.splitlines() if line.startswith("print(")]
        shapes = [f"({sizes})" for sizes in re.findall(r"Size\(\[(.*?)\]\)", capsys.readouterr().out)]
        assert [shape for line in said for shape in re.findall(r"\(\d+(?:, \d+)+\)", line)] == shapes
        holds(names["net"], names["inputs"])


def holds(net, inputs):
    """All-ones masks are the bare network; each domain's logits are its own mask's; every part learns."""
    net = copy.deepcopy(net).eval()
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    count = count_of(inputs)
    with torch.no_grad():
        each = net.domain_logits(inputs)
        assert each.shape == (net.masks.domains, count, net.classes)
        torch.testing.assert_close(net(inputs), each.mean(0), rtol=1e-4, atol=1e-5)
        for domain in range(net.masks.domains):
            own = net(inputs, torch.full((count,), domain))
            torch.testing.assert_close(own, each[domain], rtol=1e-4, atol=1e-5)
    net.train()(inputs, torch.arange(count) % net.masks.domains).square().sum().backward()
    assert all(logits.grad.abs().sum() > 0 for _, logits in net.masks.items())
    for logits in net.masks.parameters():
        logits.data.fill_(200.0)
    with torch.no_grad():
        bare = net.eval().network(*given)
        torch.testing.assert_close(net(inputs, torch.zeros(count, dtype=torch.long)), bare, rtol=1e-4, atol=1e-5)


def tables():
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))


def test_an_example_is_asked_for_where_images_do_not_fit():
    with pytest.raises(InputError, match=r"does not accept images of 224x224 .* pass an example_input"):
        masked(tables(), 2, sites=["2"])


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ([[1.0] * 20], "expected a tensor .* or a tuple of them, got list"),
        (torch.zeros(()), "expected a tensor"),
        ((), "an empty tuple"),
        (torch.zeros(0, 20), "at least one row"),
        ((torch.zeros(1, 20), torch.zeros(2)), r"same batch .* got \(1, 20\), \(2,\)"),
        (torch.zeros(1, 19), r"does not accept the example_input \(1, 19\)"),
        ((torch.zeros(1, 20), torch.zeros(1)), "does not accept the example_input"),
        (torch.zeros(1, 7, 20), r"returns logits \(N, C\), got \(1, 7, 2\)"),
    ],
)
def test_an_example_that_does_not_fit_is_told(example, message):
    with pytest.raises(InputError, match=message):
        masked(tables(), 2, sites=["2"], example_input=example)


def test_sites_by_hand_need_no_example_and_may_be_checked_by_one():
    sites = [Site("0", 1, 20), Site("2", -1, 8)]
    net = masked(tables(), 2, sites=sites).eval()
    assert (net.sites, net.classes) == (tuple(sites), 2)
    assert net.domain_logits(torch.zeros(3, 20)).shape == (2, 3, 2)
    with pytest.raises(InputError, match=r"site '2' has axis 1 and size 9, but its input has the shape \(N, 8\)"):
        masked(tables(), 2, sites=[Site("2", 1, 9)], example_input=torch.zeros(1, 20))
    with pytest.raises(InputError, match="an axis but the first"):
        masked(tables(), 2, sites=[Site("2", 0, 9)])


def test_networks_of_several_inputs_without_an_example():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.head = nn.Linear(3, 4), nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, left, right, scale=1.0):
            return self.head((self.left(left) + self.right(right)).relu() * scale)

    net = masked(Pair(), 2, sites=[Site("head", 1, 4)]).eval()
    inputs = (torch.randn(6, 3), torch.randn(6, 5))
    holds(net, inputs)
    with pytest.raises(InputError, match="expected a tuple of 2 tensors, got 1"):
        net(inputs[0])


def test_integers_and_sequences_that_come_first_cannot_be_masked():
    class Tokens(nn.Module):
        def __init__(self, batch_first):
            super().__init__()
            self.embedding = nn.Embedding(9, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
            self.head = nn.Linear(8, 3)

        def forward(self, tokens):
            hidden = self.embedding(tokens)
            batch_first = self.layer.self_attn.batch_first
            hidden = self.layer(hidden if batch_first else hidden.transpose(0, 1))
            return self.head(hidden.mean(1 if batch_first else 0))

    example = torch.zeros(1, 5, dtype=torch.long)
    with pytest.raises(InputError, match=r"site 'embedding' takes torch.int64, which a mask cannot scale"):
        masked(Tokens(True), 2, sites=["embedding"], example_input=example)
    with pytest.raises(InputError, match=r"site 'layer' takes .*\(5, 1, 8\), whose first axis is not the batch of 1"):
        masked(Tokens(False), 2, sites=["layer"], example_input=example)
    holds(masked(Tokens(True), 2, sites=["layer", "head"], example_input=example), torch.randint(9, (4, 5)))


def test_networks_without_masks_and_with_heads_take_an_example_too():
    inputs = torch.randn(4, 20)
    net = Network(tables(), "2", example_input=torch.zeros(1, 20)).eval()
    torch.testing.assert_close(net(inputs), net.network(inputs))
    assert net.pooled(net.features(inputs)).shape == (4, 8)
    heads = MultiHeadNetwork(tables(), 3, "2", example_input=torch.zeros(1, 20)).eval()
    assert heads.domain_logits(inputs).shape == (3, 4, 2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: torch.load(saved(net), weights_only=False)])
def test_copies_and_pickles_know_their_inputs(copied):
    net = masked(tables(), 2, sites=["2"], example_input=torch.zeros(1, 20)).eval()
    again = copied(net)
    inputs = torch.randn(3, 20)
    assert torch.equal(again.domain_logits(inputs), net.domain_logits(inputs))
    with pytest.raises(InputError, match="an input with 2 axes"):
        again(inputs[0])


def saved(net):
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    return stream
