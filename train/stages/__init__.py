"""The stages as players and steps: what one step of sphere initialisation, of stage 1 and of stage 2 does."""

from train.stages.decoder import DecoderStage
from train.stages.renderer import RendererStage
from train.stages.sphere import SphereStage

__all__ = ["DecoderStage", "RendererStage", "SphereStage"]
