"""The stages as players and steps: what one step of sphere initialisation, stage 1, polishing and stage 2 does."""

from train.stages.decoder import DecoderStage
from train.stages.polish import PolishStage
from train.stages.renderer import RendererStage
from train.stages.sphere import SphereStage

__all__ = ["DecoderStage", "PolishStage", "RendererStage", "SphereStage"]
