"""Blocks that are removed from a module: what stands in their place, and how a file names them.

A module artifact holds no code, only a factory that makes the unpruned module. The widths of a
pruned one are its tensors' shapes; of blocks that are gone the file has a list of names.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import nn

_MARK = "edgekiln_removed_block"  # an attribute: a factory has identities of its own


def remove_block(module: "nn.Module", name: str) -> None:
    """Put an identity in the place of the block `name`, in place."""
    from torch import nn

    parent, _, own = name.rpartition(".")
    identity = nn.Identity()
    setattr(identity, _MARK, True)
    identity.train(module.training)
    setattr(module.get_submodule(parent), own, identity)


def removed_blocks(module: "nn.Module") -> list[str]:
    """The names of all that `remove_block` removed."""
    return [name for name, child in module.named_modules() if getattr(child, _MARK, False)]


def are_removed_blocks(names: object) -> TypeGuard[list[str]]:
    """Whether `names`, out of a file, has the form of what `removed_blocks` gives."""
    return isinstance(names, list) and all(isinstance(name, str) and name for name in names)


def remove_blocks(module: "nn.Module", names: Sequence[str]) -> None:
    """Remove what `removed_blocks` named. Raises InputError: it is another module's."""
    for name in names:
        if name not in {known for known, _ in module.named_modules()}:
            raise InputError(f"no part of the model is named {name!r}", "build it again")
        remove_block(module, name)
