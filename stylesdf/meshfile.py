"""Files of meshes: glTF, OBJ, PLY, STL, in the size and with the axes that other programs expect."""

from __future__ import annotations

import io
import json
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stylesdf.arguments import check_number
from stylesdf.files import check_ending, replacing

if TYPE_CHECKING:
    import trimesh

MESH_ENDINGS = (".glb", ".obj", ".ply", ".stl")
TEXTURE_ENDINGS = (".glb", ".obj")  # of a mesh with a texture
ROUGHNESS = 0.9  # of the surface, as of skin and hair, in [0, 1]
UPS = ("y", "z")
MAX_SIZE_MM = 1_000_000
UNSIGNED_SHORT, UNSIGNED_INT, FLOAT, ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 5123, 5125, 5126, 34962, 34963  # of glTF
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071  # of glTF


def export_mesh(
    mesh: trimesh.Trimesh,
    path: str | os.PathLike,
    metadata: dict | None = None,
    size_mm: float | None = None,
    up: str = "y",
) -> None:
    """Write a mesh; the same mesh gives the same bytes, and the file appears only once it is complete.

    ``.glb`` carries normals, colours (linear, as glTF wants them, of 16 bits) and a material that is not metallic
    (glTF's default is, which looks dark), with the metadata as extras; ``.obj`` and ``.ply`` carry normals and colours,
    with the metadata as a comment; ``.stl`` carries the shape only. A texture takes the place of the colours in
    ``.glb``; beside ``NAME.obj`` it makes ``NAME.mtl`` and ``NAME_texture.png``.

    Args:
        mesh: The mesh.
        path: Ends in .glb, .obj, .ply or .stl; in .glb or .obj for a mesh with a texture. A missing folder is made.
        metadata: JSON-able; added to the mesh's own.
        size_mm: Largest extent in millimetres, which slicers take the numbers of ``.stl``, ``.obj`` and ``.ply`` for;
            those of ``.glb`` are metres. None keeps world units.
        up: Axis that points up: ``"y"`` as in the world and in glTF, or ``"z"`` as slicers have it; the face then
            looks along −y.

    Raises:
        ValueError: Another ending, a size that is not positive, or another axis.
    """
    is_textured = mesh.visual.kind == "texture"
    path = check_ending(path, TEXTURE_ENDINGS if is_textured else MESH_ENDINGS)
    ending = path.suffix.lower()
    mesh, placement = _placed(mesh, size_mm, 1000.0 if ending == ".glb" else 1.0, up)
    metadata = {**mesh.metadata, **placement, **(metadata or {})}
    comment = "stylesdf " + json.dumps(metadata, sort_keys=True)
    if ending == ".glb":
        data = _glb(mesh, metadata)
    elif is_textured:
        _write_textured_obj(mesh, path, comment)
        return
    elif ending == ".obj":
        data = mesh.export(file_type="obj", include_normals=True, header=comment).encode()
    elif ending == ".ply":
        data = mesh.export(file_type="ply", vertex_normal=True)
        format_line = b"format binary_little_endian 1.0\n"
        data = data.replace(format_line, format_line + f"comment {comment}\n".encode("ascii"), 1)
    else:
        data = mesh.export(file_type="stl")
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _placed(mesh: trimesh.Trimesh, size_mm: float | None, mm: float, up: str) -> tuple[trimesh.Trimesh, dict]:
    """Return a mesh in the size and with the axis that are wanted, and what of that differs from the world.

    Args:
        mesh: Is left as it is.
        size_mm: As of ``export_mesh``.
        mm: Millimetres in a unit of the file.
        up: As of ``export_mesh``.
    """
    if up not in UPS:
        raise ValueError(f"up is {up!r}, expected one of {', '.join(UPS)}")
    if size_mm is not None and not 0.0 < check_number("size_mm", size_mm) <= MAX_SIZE_MM:
        raise ValueError(f"size_mm is {size_mm!r}, expected millimetres above 0 and at most {MAX_SIZE_MM:,}")
    if size_mm is None and up == "y":
        return mesh, {}
    import trimesh

    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) if up == "z" else np.eye(3)  # rows: where x, y and z go
    scale = 1.0 if size_mm is None else size_mm / mm / mesh.extents.max()
    placed = trimesh.Trimesh(
        mesh.vertices @ turn * scale,
        mesh.faces,
        vertex_normals=mesh.vertex_normals @ turn,
        visual=mesh.visual.copy(),
        metadata=mesh.metadata,
        process=False,
    )
    return placed, ({} if size_mm is None else {"size_mm": float(size_mm)}) | ({} if up == "y" else {"up": up})


def _glb(mesh: trimesh.Trimesh, metadata: dict) -> bytes:
    """Return a mesh as binary glTF 2.0: a chunk of JSON, and one of all numbers in the order of the accessors."""
    length = np.linalg.norm(mesh.vertex_normals, axis=1, keepdims=True)
    # glTF wants unit normals; where the field has none, any will do
    normals = np.where(length > 1e-6, mesh.vertex_normals / np.maximum(length, 1e-6), [0.0, 1.0, 0.0])
    positions, faces = np.asarray(mesh.vertices, "<f4"), np.asarray(mesh.faces, "<u4")
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    surface = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": ROUGHNESS}
    picture = b""
    if mesh.visual.kind == "texture":
        uv = np.asarray(mesh.visual.uv * [1, -1] + [0, 1], "<f4")  # glTF counts from the upper left
        colour = {"TEXCOORD_0": (uv, ARRAY_BUFFER, {"componentType": FLOAT, "type": "VEC2"})}
        surface["baseColorTexture"] = {"index": 0}
        picture = _png(mesh)
    else:
        colours = np.rint(_linear(np.asarray(mesh.visual.vertex_colors) / 255.0) * 65535.0).astype("<u2")
        about = {"componentType": UNSIGNED_SHORT, "normalized": True, "type": "VEC4"}
        colour = {"COLOR_0": (colours, ARRAY_BUFFER, about)}
    arrays = {  # each row a multiple of four bytes
        "POSITION": (positions, ARRAY_BUFFER, {"componentType": FLOAT, "type": "VEC3", **bounds}),
        "NORMAL": (normals.astype("<f4"), ARRAY_BUFFER, {"componentType": FLOAT, "type": "VEC3"}),
        **colour,
        "indices": (faces.ravel(), ELEMENT_ARRAY_BUFFER, {"componentType": UNSIGNED_INT, "type": "SCALAR"}),
    }
    views, accessors, start = [], [], 0
    for array, target, about in arrays.values():
        accessors.append({"bufferView": len(views), "count": len(array), **about})
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target})
        start += array.nbytes
    *attributes, indices = {name: index for index, name in enumerate(arrays)}.items()
    tree = {
        "asset": {"version": "2.0", "generator": "stylesdf", "extras": metadata},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {"primitives": [{"attributes": dict(attributes), "indices": indices[1], "material": 0}], "extras": metadata}
        ],
        "materials": [{"name": "surface", "pbrMetallicRoughness": surface, "doubleSided": True}],
        "accessors": accessors,
        "bufferViews": views,
    }
    if picture:
        wrap = {"wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        tree["textures"] = [{"source": 0, "sampler": 0}]
        tree["samplers"] = [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, **wrap}]
        tree["images"] = [{"bufferView": len(views), "mimeType": "image/png"}]
        views.append({"buffer": 0, "byteOffset": start, "byteLength": len(picture)})
        picture += b"\0" * (-len(picture) % 4)
        start += len(picture)
    tree["buffers"] = [{"byteLength": start}]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + start, len(text), b"JSON")
    blocks = [array.tobytes() for array, _, _ in arrays.values()]
    return b"".join([head, text, struct.pack("<I4s", start, b"BIN\0"), *blocks, picture])


def _linear(colours: np.ndarray) -> np.ndarray:
    """Return RGBA in [0, 1] as glTF's attributes have it: linear light."""
    srgb = colours[:, :3]
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    return np.concatenate([linear, colours[:, 3:]], axis=1)


def _png(mesh: trimesh.Trimesh) -> bytes:
    buffer = io.BytesIO()
    mesh.visual.material.baseColorTexture.save(buffer, format="PNG")
    return buffer.getvalue()


def _write_textured_obj(mesh: trimesh.Trimesh, path: Path, comment: str) -> None:
    """Write a mesh with a texture as an OBJ, its material and its picture, which stand beside it under its name.

    Vertices that a border between charts has doubled are one in the OBJ, so that a closed surface is closed there.
    """
    stem = re.sub(r"\s|^-", "_", path.stem)  # readers of these formats end a name at a space, or take it for an option
    material, picture = path.with_name(f"{stem}.mtl"), path.with_name(f"{stem}_texture.png")
    _, first, place = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    corners = np.arange(len(mesh.vertices))
    triples = np.stack([place.reshape(-1), corners, corners], axis=1)[mesh.faces].reshape(-1, 9) + 1
    rows = (
        ("v %.8f %.8f %.8f\n", np.asarray(mesh.vertices)[first]),
        ("vt %.7f %.7f\n", mesh.visual.uv),
        ("vn %.6f %.6f %.6f\n", mesh.vertex_normals),
        ("usemtl surface\n", [()]),
        ("f %d/%d/%d %d/%d/%d %d/%d/%d\n", triples),
    )
    lines = [f"# {comment}\nmtllib {material.name}\n"]
    lines += [row % tuple(values) for row, table in rows for values in np.asarray(table).tolist()]
    about = f"Kd 1 1 1\nKs 0 0 0\nd 1\nillum 1\nPr {ROUGHNESS}\nPm 0\nmap_Kd {picture.name}\n"
    # the OBJ comes last, when what it names is there
    with replacing(path) as surface, replacing(material) as about_surface, replacing(picture) as texture:
        texture.write_bytes(_png(mesh))
        about_surface.write_bytes(f"# {comment}\nnewmtl surface\n{about}".encode())
        surface.write_bytes("".join(lines).encode())
