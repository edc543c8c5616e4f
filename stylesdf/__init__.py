"""StyleSDF: 3D-consistent images and geometry from a signed distance field (arXiv 2112.11427)."""

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig, preset
from stylesdf.pipeline import StyleSDF
from stylesdf.shot import Shot
from stylesdf.version import __version__

__all__ = ["Camera", "Shot", "StyleSDF", "StyleSDFConfig", "__version__", "preset"]
