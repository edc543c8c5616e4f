"""Numbers made visible: depth, normals, and the field cut open.

Shapes: H W thumbnail.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from stylesdf.pipeline import SdfSlice

# A perceptually even ramp, near to far: pale yellow, coral, plum, midnight.
DEPTH_RAMP = np.array([(254, 246, 190), (253, 176, 108), (229, 92, 98), (149, 48, 122), (75, 26, 116), (18, 12, 52)])
PAPER = np.array([244.0, 246.0, 249.0])  # where there is no surface
SIZE = 256  # pixels of the enlarged maps
HEIGHT = 430  # pixels of the figures
INK, SURFACE, RAY = "#64748b", "#0f172a", "#e8590c"


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


def _on_paper(colours: np.ndarray, background: np.ndarray) -> Image.Image:
    share = background[..., None]
    levels = np.clip(colours * (1.0 - share) + PAPER * share, 0.0, 255.0).round().astype(np.uint8)
    return Image.fromarray(levels).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


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
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)


def _short(values) -> list:
    """Plain numbers of few digits: the figure travels as text."""
    return np.asarray(values, dtype=np.float64).round(5).tolist()
