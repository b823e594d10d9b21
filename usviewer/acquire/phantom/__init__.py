"""A simulated abdominal aorta of known diameter: the demo, and most tests."""

from usviewer.acquire.phantom.phantom_source import PhantomSource, PhantomTruth, open_phantom
from usviewer.acquire.phantom.spec import PhantomPlane, PhantomSpec, parse_phantom_uri, random_spec

__all__ = [
    "PhantomPlane",
    "PhantomSource",
    "PhantomSpec",
    "PhantomTruth",
    "open_phantom",
    "parse_phantom_uri",
    "random_spec",
]
