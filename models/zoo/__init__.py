"""Models that come with EdgeKiln, and the way to the user's own."""

from edgekiln.models.zoo.entries import ENTRIES, ZooEntry
from edgekiln.models.zoo.factories import Factory, build, make, resolve

__all__ = ["ENTRIES", "Factory", "ZooEntry", "build", "make", "resolve"]
