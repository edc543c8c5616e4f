"""Numbers made visible: depth, normals, and the field cut open.

Shapes: H W thumbnail.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from stylesdf.config import StyleSDFConfig
from stylesdf.pipeline import SdfSlice, View

# A perceptually even ramp, near to far: pale yellow, coral, plum, midnight.
DEPTH_RAMP = np.array([(254, 246, 190), (253, 176, 108), (229, 92, 98), (149, 48, 122), (75, 26, 116), (18, 12, 52)])
PAPER = np.array([244.0, 246.0, 249.0])  # where there is no surface
CLAY = np.array([236.0, 228.0, 216.0])
KEY_LIGHT = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])
FILL_LIGHT = np.array([0.8, 0.1, 0.6]) / np.linalg.norm([0.8, 0.1, 0.6])
SIZE = 256  # pixels of the enlarged maps
HEIGHT = 430  # pixels of the figures
INK, SURFACE, RAY, GRID = "#64748b", "#0f172a", "#e8590c", "rgba(100, 116, 139, .25)"


def depth_picture(depth: np.ndarray, background: np.ndarray) -> Image.Image:
    """Colour the depth of the surface from near (light) to far (dark), stretched to what the picture holds.

    Args:
        depth: Expected z-depth, world units. ``(H, W)``.
        background: Share of the pixel that is no surface, in [0, 1]. ``(H, W)``.
    """
    on_surface = depth[background <= 0.5]
    near, far = (on_surface.min(), on_surface.max()) if on_surface.size else (0.0, 1.0)
    share = np.clip((depth - near) / max(far - near, 1e-6), 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(DEPTH_RAMP))
    colours = np.stack([np.interp(share, stops, DEPTH_RAMP[:, channel]) for channel in range(3)], axis=-1)
    return _on_paper(colours, background)


def normals_picture(normals: np.ndarray, background: np.ndarray) -> Image.Image:
    """Colour the surface by its direction: red is the world's x, green y (up), blue z (frontal).

    Args:
        normals: Unit normals, zero where there is no surface. ``(H, W, 3)``.
        background: Share of the pixel that is no surface, in [0, 1]. ``(H, W)``.
    """
    return _on_paper((normals * 0.5 + 0.5) * 255.0, np.where((normals == 0.0).all(axis=-1), 1.0, background))


def shape_picture(normals: np.ndarray, background: np.ndarray) -> Image.Image:
    """Light the bare surface, as if of clay: a key light from the upper left, a fill light from the right.

    Args:
        normals: Unit normals, zero where there is no surface. ``(H, W, 3)``.
        background: Share of the pixel that is no surface, in [0, 1]. ``(H, W)``.
    """
    light = 0.25 + 0.65 * np.clip(normals @ KEY_LIGHT, 0.0, None) + 0.2 * np.clip(normals @ FILL_LIGHT, 0.0, None)
    return _on_paper(light[..., None] * CLAY, np.where((normals == 0.0).all(axis=-1), 1.0, background))


def picture(view: View, mode: str) -> Image.Image:
    """Draw what a view shows in one of ``stylesdf.demo.scene.MODES``."""
    if mode == "image":
        return view.image
    if mode == "thumbnail":
        return view.thumbnail
    if mode == "depth":
        return depth_picture(view.depth, view.background)
    return (normals_picture if mode == "normals" else shape_picture)(view.normals, view.background)


def _on_paper(colours: np.ndarray, background: np.ndarray) -> Image.Image:
    share = background[..., None]
    levels = np.clip(colours * (1.0 - share) + PAPER * share, 0.0, 255.0).round().astype(np.uint8)
    return Image.fromarray(levels).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def data_url(image: Image.Image | bytes, quality: int | None = None) -> str:
    """Write a picture into a URL: a PNG's bytes as they are, a picture as PNG, or as JPEG of a quality."""
    if isinstance(image, bytes):
        kind, data = "png", image
    else:
        kind, buffer = ("png", io.BytesIO()) if quality is None else ("jpeg", io.BytesIO())
        image.save(buffer, format=kind, **({} if quality is None else {"quality": quality}))
        data = buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def slice_figure(cut: SdfSlice):
    """Draw the field in the plane of the camera: distance in colour, its zero contour, and the ray with its samples."""
    import plotly.graph_objects as go

    radius = float(cut.horizontal[-1])
    reach = float(np.abs(cut.sdf).max())
    entry, camera = cut.ray_points[0], np.array(cut.camera_position)
    tail = entry + (camera - entry) / np.linalg.norm(camera - entry) * 0.12 * radius
    hover = "across %{x:.3f}, up %{y:.3f}<br>distance %{z:.4f}<extra></extra>"
    distance = go.Heatmap(
        x=_short(cut.horizontal), y=_short(cut.vertical), z=_short(cut.sdf), zmin=-reach, zmax=reach, zsmooth="best",
        colorscale=[[0, "#1d4e89"], [0.5, "#fbfaf7"], [1, "#d98e73"]], hovertemplate=hover,
        colorbar={"thickness": 10, "outlinewidth": 0, "title": {"text": "distance", "side": "right"}, "nticks": 5},
    )  # fmt: skip
    surface = go.Contour(
        x=_short(cut.horizontal), y=_short(cut.vertical), z=_short(cut.sdf), showscale=False, hoverinfo="skip",
        contours={"start": 0, "end": 0, "size": 1, "coloring": "none"}, line={"color": SURFACE, "width": 2.5},
        name="surface", showlegend=True,
    )  # fmt: skip
    ray = go.Scatter(
        x=_short([tail[0], *cut.ray_points[:, 0]]), y=_short([tail[1], *cut.ray_points[:, 1]]), mode="lines",
        line={"color": RAY, "width": 1}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    samples = go.Scatter(
        x=_short(cut.ray_points[:, 0]), y=_short(cut.ray_points[:, 1]), mode="markers", name="samples of the ray",
        marker={"color": RAY, "size": 4.0 + 12.0 * np.sqrt(cut.ray_weights), "line": {"color": "white", "width": 1}},
        customdata=np.stack([cut.ray_sdf, cut.ray_density, cut.ray_weights], axis=-1).round(5).tolist(),
        hovertemplate="distance %{customdata[0]:.4f}<br>density %{customdata[1]:.1f}"
        "<br>weight %{customdata[2]:.3f}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure([distance, surface, ray, samples])
    _style(figure)
    span = [-1.16 * radius, 1.16 * radius]
    figure.update_xaxes(title="back ← → towards the viewer", range=span, constrain="domain", zeroline=False)
    figure.update_yaxes(title="down ← → up", range=span, scaleanchor="x", constrain="domain", zeroline=False)
    return figure


def ray_figure(cut: SdfSlice):
    """Draw what the centre pixel's ray meets: density and weight of every sample over its depth."""
    import plotly.graph_objects as go

    depth = _short(cut.ray_depth)
    figure = go.Figure(
        [
            go.Bar(x=depth, y=_short(cut.ray_weights), name="weight in the pixel", marker={"color": RAY}),
            go.Scatter(
                x=depth, y=_short(cut.ray_density), name="density", yaxis="y2", mode="lines+markers",
                line={"color": "#1d4e89", "width": 2}, marker={"size": 4},
            ),
        ]
    )  # fmt: skip
    _style(figure)
    zero = {"rangemode": "tozero", "nticks": 5, "zeroline": False}
    figure.update_layout(
        yaxis={"title": "weight", "showgrid": False, **zero},
        yaxis2={"title": "density", "overlaying": "y", "side": "right", "showgrid": False, **zero},
    )
    figure.update_xaxes(title=f"depth along the ray (β = {cut.beta:.4f})", showgrid=False)
    return figure


def _style(figure) -> None:
    clear = "rgba(0,0,0,0)"  # the page shows through, light or dark
    figure.update_layout(
        height=HEIGHT, autosize=True, margin={"l": 8, "r": 8, "t": 48, "b": 8}, paper_bgcolor=clear, plot_bgcolor=clear,
        font={"color": INK, "size": 12}, legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        dragmode=False,
    )  # fmt: skip
    figure.update_xaxes(automargin=True, gridcolor=GRID)
    figure.update_yaxes(automargin=True, gridcolor=GRID)


def _short(values) -> list:
    """Plain numbers of few digits: the figure travels as text."""
    return np.asarray(values, dtype=np.float64).round(5).tolist()


def prior_figure(config: StyleSDFConfig, yaw: float, pitch: float):
    """Draw the angles that the model was trained with, and where the camera stands among them (degrees)."""
    import plotly.graph_objects as go

    spread = np.degrees([config.pose_yaw, config.pose_pitch])
    figure = go.Figure()
    if config.pose_distribution == "gaussian":
        turn = np.linspace(0.0, 2.0 * np.pi, 73)
        for deviations in (3, 2, 1):
            figure.add_scatter(
                x=_short(deviations * spread[0] * np.cos(turn)), y=_short(deviations * spread[1] * np.sin(turn)),
                mode="lines", fill="toself", fillcolor="rgba(29, 78, 137, .14)", name=f"{deviations} σ",
                line={"color": "rgba(29, 78, 137, .5)", "width": 1}, hoverinfo="name", showlegend=False,
            )  # fmt: skip
    else:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * spread
        figure.add_scatter(
            x=_short(corners[:, 0]), y=_short(corners[:, 1]), mode="lines", fill="toself", name="trained",
            fillcolor="rgba(29, 78, 137, .2)", line={"width": 1, "color": "rgba(29, 78, 137, .5)"}, showlegend=False,
        )  # fmt: skip
    figure.add_scatter(
        x=[yaw], y=[pitch], mode="markers", name="this camera", showlegend=False,
        marker={"color": RAY, "size": 12, "symbol": "cross"}, hovertemplate="yaw %{x}°, pitch %{y}°<extra></extra>",
    )  # fmt: skip
    _style(figure)
    figure.update_xaxes(title="yaw °", range=[-95, 95], zeroline=False)
    figure.update_yaxes(title="pitch °", range=[-65, 65], zeroline=False)
    return figure


def plane_figure(points: np.ndarray, here: np.ndarray, share: float):
    """Draw the principal plane of the latent space: other seeds as dots, this head as a cross.

    Args:
        points: Seeds 0, 1, 2, ... ``(N, 2)``.
        here: This head. ``(2,)``.
        share: Of the codes' variance that the plane holds.
    """
    import plotly.graph_objects as go

    figure = go.Figure(
        [
            go.Scatter(
                x=_short(points[:, 0]), y=_short(points[:, 1]), mode="markers", showlegend=False,
                marker={"size": 5, "color": "#1d4e89", "opacity": 0.45}, customdata=list(range(len(points))),
                hovertemplate="seed %{customdata}<extra></extra>",
            ),
            go.Scatter(
                x=_short(here[:1]), y=_short(here[1:]), mode="markers", showlegend=False, hoverinfo="skip",
                marker={"size": 13, "color": RAY, "symbol": "cross"},
            ),
        ]
    )  # fmt: skip
    _style(figure)
    figure.update_xaxes(title=f"first two axes hold {share:.0%} of the variance", zeroline=False, showticklabels=False)
    figure.update_yaxes(zeroline=False, showticklabels=False)
    return figure
