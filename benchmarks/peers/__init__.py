"""Other engines, each set up as its own documentation advises for lowest latency on one CPU."""

from edgekiln.benchmarks.peers.peer import Peer

_HERE = "edgekiln.benchmarks.peers"

PEERS = (
    Peer(name="openvino", distribution="openvino", module=f"{_HERE}.openvino"),
    Peer(
        name="litert",
        distribution="ai-edge-litert",
        module=f"{_HERE}.litert",
        suffix=".tflite",
    ),
    Peer(
        name="executorch",
        distribution="executorch",
        module=f"{_HERE}.executorch",
        suffix=".pte",
    ),
    Peer(
        name="ncnn",
        distribution="ncnn",
        module=f"{_HERE}.ncnn",
        suffix=".param",
        without={"int8": "its wheel has none of its quantization tools (ncnn2table, ncnn2int8)"},
    ),
)
BY_NAME = {peer.name: peer for peer in PEERS}
