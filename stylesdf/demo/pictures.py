"""What the page shows of a view, and figures of the field cut open and of where a head stands among others."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from stylesdf.config import StyleSDFConfig
from stylesdf.head import View
from stylesdf.pictures import depth_picture, normals_picture, shape_picture
from stylesdf.slice import SdfSlice

HEIGHT = 430  # pixels of the figures
SURFACE, RAY, LINE, GRID = "#0f172a", "#e8590c", "#3b82f6", "rgba(100, 116, 139, .25)"  # on light and on dark


def picture(view: View, mode: str) -> Image.Image:
    """Draw what a view shows in one of ``stylesdf.demo.scene.MODES``."""
    if mode == "image":
        return view.image
    if mode == "thumbnail":
        return view.thumbnail
    if mode == "depth":
        return depth_picture(view.depth, view.background)
    if mode == "normals":
        return normals_picture(view.normals, view.background)
    return shape_picture(view.normals, view.background, view.shot.light)


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
        showlegend=False,
    )  # fmt: skip
    ray = go.Scatter(
        x=_short([tail[0], *cut.ray_points[:, 0]]), y=_short([tail[1], *cut.ray_points[:, 1]]), mode="lines",
        line={"color": RAY, "width": 1}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    samples = go.Scatter(
        x=_short(cut.ray_points[:, 0]), y=_short(cut.ray_points[:, 1]), mode="markers", showlegend=False,
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
                line={"color": LINE, "width": 2}, marker={"size": 4},
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
        font={"size": 12}, legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
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
                mode="lines", fill="toself", fillcolor="rgba(59, 130, 246, .14)", name=f"{deviations} σ",
                line={"color": LINE, "width": 1}, hoverinfo="name", showlegend=False,
            )  # fmt: skip
    else:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * spread
        figure.add_scatter(
            x=_short(corners[:, 0]), y=_short(corners[:, 1]), mode="lines", fill="toself", name="trained",
            fillcolor="rgba(59, 130, 246, .2)", line={"width": 1, "color": LINE}, showlegend=False,
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
                marker={"size": 5, "color": LINE, "opacity": 0.45}, customdata=list(range(len(points))),
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
