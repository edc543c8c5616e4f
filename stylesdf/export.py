"""Models for other runtimes: one identity seen from one view, as ONNX.

Shapes: B batch, H W thumbnail, R image.
"""

from __future__ import annotations

import copy
import json
import os

import torch
from torch import Tensor, nn

from stylesdf.camera import Camera
from stylesdf.files import check_ending, replacing
from stylesdf.model import Generator

ONNX_ENDINGS = (".onnx",)
INPUTS = ("z", "cam2world", "psi")
OUTPUTS = ("image", "thumbnail", "depth")


class SingleView(nn.Module):
    """Tensors in, tensors out: what ``torch.export`` and ONNX need. No argument is checked.

    Args:
        model: Whose weights it shares.
        fov_deg: Full field of view in degrees, which an export fixes; None takes the model's.
    """

    def __init__(self, model: Generator, fov_deg: float | None = None) -> None:
        super().__init__()
        self.model = model
        self.fov_deg = fov_deg

    def forward(self, z: Tensor, cam2world: Tensor, psi: Tensor) -> tuple[Tensor, ...]:
        """Do what ``Generator.forward`` does with the stored noise.

        Args:
            z: Gaussian latents. ``(B, latent_size)``.
            cam2world: Columns right, up, back, origin, see ``Camera``. ``(B, 3, 4)``.
            psi: Truncation in [0, 1]. A tensor without dimensions.

        Returns:
            Image ``(B, 3, R, R)`` (absent in a renderer-only model), thumbnail ``(B, 3, H, W)``, depth
            ``(B, 1, H, W)``.
        """
        model = self.model
        # truncation as in stylesdf.mapping, with psi as a tensor: a graph has no branches
        w = torch.lerp(model.w_avg, model.renderer_mapping(z), psi)
        rendering = model.render(w, Camera(cam2world, self.fov_deg))
        if not model.config.has_decoder:
            return rendering.thumbnail, rendering.depth
        ws = torch.lerp(model.ws_avg, model.decoder_mapping(w), psi)[:, None].expand(-1, model.config.num_ws, -1)
        return model.synthesis(rendering.features, ws), rendering.thumbnail, rendering.depth


def export_onnx(model: Generator, path: str | os.PathLike, fov_deg: float | None = None) -> None:
    """Write renderer and decoder as one ONNX file (opset 20, float32) that draws one identity from one view.

    Inputs are ``z`` ``(1, latent_size)``, ``cam2world`` ``(1, 3, 4)`` and ``psi`` (no dimensions); outputs ``image``
    ``(1, 3, R, R)`` (absent in a renderer-only model), ``thumbnail`` ``(1, 3, H, W)`` and ``depth`` ``(1, 1, H, W)``,
    as ``model(z, Camera(cam2world, fov_deg), psi)`` gives them. The file's metadata tells the model's name, commit
    and config, and carries its card, with the licence.

    Args:
        model: Stays as it is.
        path: Ends in .onnx. A missing folder is made; the file appears only once it is complete.
        fov_deg: Full field of view in degrees, fixed in the file; None takes the model's.

    Raises:
        ValueError: Another ending, or a field of view out of range.
        ImportError: The packages of the extra ``[export]`` are not there.
    """
    path = check_ending(path, ONNX_ENDINGS)
    camera = Camera.from_angles(0.0, 0.0, fov_deg)
    onnxscript = _import_onnxscript()

    def cumprod(x, dim: int, dtype: int = -1):  # ONNX has sums only; the factors 1 − α + 1e−10 are positive
        op = onnxscript.opset20
        return op.Exp(op.CumSum(op.Log(x), op.Constant(value_int=dim)))

    view = SingleView(copy.deepcopy(model).to("cpu", torch.float32), fov_deg).eval()
    has_decoder = model.config.has_decoder
    with torch.no_grad():
        program = torch.onnx.export(
            view,
            (torch.zeros(1, model.config.latent_size), camera.cam2world, torch.tensor(1.0)),
            dynamo=True,
            opset_version=20,
            input_names=INPUTS,
            output_names=OUTPUTS if has_decoder else OUTPUTS[1:],
            custom_translation_table={torch.ops.aten.cumprod.default: cumprod},
            verbose=False,
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces of this machine
    program.model.metadata_props.update(
        model=getattr(model, "public_name", "unnamed"),
        commit=getattr(model, "commit_hash", None) or "",
        config=json.dumps(model.config.to_dict()),
        fov_deg=str(fov_deg or model.config.fov_deg),
        card=getattr(model, "card", None) or "",
    )
    with replacing(path) as temporary:
        program.save(temporary, external_data=False)


def _import_onnxscript():
    try:
        import onnx  # noqa: F401
        import onnxscript
    except ImportError as error:
        raise ImportError(f"ONNX needs what pip install .[export] brings: {error}") from None
    return onnxscript
