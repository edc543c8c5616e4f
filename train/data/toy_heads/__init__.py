"""Toy heads: a procedural data set of animal heads, one picture per random animal, with the exact truth.

A head is a union of ellipsoids ("parts") coloured by soft ellipsoids of paint ("brushes"). Rays meet the parts
analytically, so colour, mask, depth and normals are exact; paint is a function of the 3D point, so a stripe stays where
it is when the camera moves. The camera is the one of the model: on the unit sphere, looking at the origin.

World axes are head axes: +x to the right of a frontal picture, +y up, the face looks along +z. World units throughout;
a head has a radius of about 0.068 and lies inside ``MAX_RADIUS``.
"""

from train.data.toy_heads.head import MAX_RADIUS, SPECIES, Head
from train.data.toy_heads.render import BACKGROUND, RenderedHeads, render_heads
from train.data.toy_heads.sample import sample_head
from train.data.toy_heads.write import ToyHeadsConfig, pose_of, write_toy_heads

__all__ = [
    "BACKGROUND",
    "MAX_RADIUS",
    "SPECIES",
    "Head",
    "RenderedHeads",
    "ToyHeadsConfig",
    "pose_of",
    "render_heads",
    "sample_head",
    "write_toy_heads",
]
