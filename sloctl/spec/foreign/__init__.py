"""SLO files of other tools: Sloth's, Pyrra's, OpenSLO's and Nobl9's, read as an SLO file of ours; and ours as OpenSLO.

Nothing is dropped without a word: what our file cannot say is a problem with its place. Must not know what is generated
from a file.
"""

from sloctl.spec.foreign.convert import Imported, convert

__all__ = ["Imported", "convert"]
