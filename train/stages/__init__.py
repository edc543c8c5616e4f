"""The stages as players and steps: what one step of stage 1, prior, polishing, stage 2 and the encoder does."""

from train.stages.decoder import DecoderStage
from train.stages.encoder import EncoderStage
from train.stages.polish import PolishStage
from train.stages.prior import PriorStage
from train.stages.renderer import RendererStage

__all__ = ["DecoderStage", "EncoderStage", "PolishStage", "PriorStage", "RendererStage"]
