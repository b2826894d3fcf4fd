"""decloud, translate and clouds, done to a scene in strips."""

from geodecloud.in_strips.clouding import Clouding, find_classes
from geodecloud.in_strips.declouding import Declouding
from geodecloud.in_strips.translating import Translating

__all__ = ["Clouding", "Declouding", "Translating", "find_classes"]
