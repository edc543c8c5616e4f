"""What an agent gets: the endpoints as tools of an MCP server, tried by a client. Needs ``gradio[mcp]``."""

import asyncio
import urllib.request

import pytest

from stylesdf.demo.scene import Scene
from tests.browser.serve import running_app, small_model

pytest.importorskip("mcp")


async def talk(address: str, calls: list[tuple[str, dict]]):
    """Return the tools by name, and what each call gave."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        streamable_http_client(f"{address}/gradio_api/mcp/") as (reader, writer, _),
        ClientSession(reader, writer) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        return tools, [await session.call_tool(name, arguments) for name, arguments in calls]


def test_an_agent_makes_a_head_a_mix_a_film_and_a_mesh(tmp_path):
    calls = [
        ("generate", {"seed": 7, "yaw": 20}),
        ("mix", {"seed": 7, "texture_seed": 3}),
        ("film", {"seed": 7, "frames": 4}),
        ("mesh", {"seed": 7, "resolution": 64}),
        ("generate", {"seed": -1}),
    ]
    arguments = ("--mcp", "--model", str(small_model(tmp_path / "model")))
    with running_app(*arguments, cwd=tmp_path, log=tmp_path / "app.log") as (address, _):
        tools, (head, mix, film, mesh, wrong) = asyncio.run(talk(address, calls))
        urls = [result.content[-1].text.removeprefix("Image URL: ") for result in (head, mix, film, mesh)]
        files = [urllib.request.urlopen(url, timeout=30).read() for url in urls]
    assert set(tools) == {"generate", "view", "mix", "mesh", "film"}
    for tool in tools.values():
        assert tool.description.endswith(".")
        assert all(value["description"] for value in tool.inputSchema["properties"].values())
    scenes = []
    for file in files[:2]:
        (tmp_path / "head.png").write_bytes(file)
        scenes.append(Scene.from_picture(tmp_path / "head.png"))
    assert [(scene.seed, scene.yaw, scene.texture_seed) for scene in scenes] == [(7, 20.0, None), (7, 0.0, 3)]
    assert [result.content[0].type for result in (head, mix)] == ["image", "image"]
    assert files[2][4:8] == b"ftyp" and files[3][:4] == b"glTF"
    assert wrong.isError and wrong.content[0].text == "seed is -1, expected an integer from 0 to 4294967295"
