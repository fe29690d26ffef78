import pytest
import torch

from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.proof import Prover
from tests.compiler.pruning import networks
from tests.compiler.pruning.networks import EXAMPLE


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("network", networks.SOUND, ids=lambda network: network.__name__)
def test_a_mask_shifted_by_one_is_caught_in_every_group(network):
    module = network()
    prover = Prover(module, EXAMPLE)
    tried = 0
    for group in ChannelGraph(module, EXAMPLE).groups():
        if not prover.prove(group).proven:
            continue
        half = group.atoms[: len(group.atoms) // 2]
        shifted = group.atoms[1 : len(group.atoms) // 2 + 1]
        verdict = prover.compare(
            group,
            cut=sorted(c for atom in half for c in atom),
            zeroed=sorted(c for atom in shifted for c in atom),
        )
        assert not verdict.proven, group.root
        assert verdict.reason.startswith("cutting differs from zeroing by")
        tried += 1
    assert tried


def test_the_output_is_recognized():
    module = networks.residual()
    groups = {group.root: group for group in ChannelGraph(module, EXAMPLE).groups()}
    verdict = Prover(module, EXAMPLE).prove(groups["head"])
    assert verdict.is_output
    assert not verdict.proven


def test_a_cut_that_breaks_the_network_is_told_by_its_error():
    module = networks.zero_pad()
    prover = Prover(module, EXAMPLE)
    verdicts = [prover.prove(group) for group in ChannelGraph(module, EXAMPLE).groups()]
    assert any("cutting" in verdict.reason for verdict in verdicts)


def test_a_layer_norm_is_no_obstacle_to_honesty():
    module = networks.transformer()
    prover = Prover(module, EXAMPLE)
    normalized = [
        group
        for group in ChannelGraph(module, EXAMPLE).groups()
        if any(item.name == "norm" for item in group.items)
    ]
    assert normalized
    assert not any(prover.prove(group).proven for group in normalized)  # a mean over the channels
