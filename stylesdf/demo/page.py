"""What the parts of the page share: the controls that make a scene, queues, files and the tone of errors.

How a change travels: any control's change draws the scene (``explore``), which writes its query into the hidden field
``query``; from there it goes into the hidden field of the tab that is open, whose change is what that tab follows.
So one change costs one drawing and one tab, whatever the page holds.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from stylesdf.arguments import MAX_SEED
from stylesdf.config import shown
from stylesdf.demo.live import LiveFiles
from stylesdf.demo.models import MAX_LOADING
from stylesdf.demo.scene import MAX_TEXT, Scene
from stylesdf.demo.studio import Studio
from stylesdf.demo.visits import PictureFiles, VisitorFiles
from stylesdf.words import in_html

PRIVATE = {"api_visibility": "private"}
# One picture at a time, one heavy job at a time and small drawings, beside each other, and models of the hub beside
# them: however long the hub takes, pictures go on. What is waiting is told its place.
QUICK = {"concurrency_limit": 1, "concurrency_id": "view", **PRIVATE}
HEAVY = {"concurrency_limit": 1, "concurrency_id": "jobs", **PRIVATE}
ASIDE = {"concurrency_limit": 1, "concurrency_id": "aside", **PRIVATE}
LOAD = {"concurrency_limit": MAX_LOADING, "concurrency_id": "load", **PRIVATE}
AT_ONCE = {"queue": False, "show_progress": "hidden", **PRIVATE}
PROGRESS = gr.Progress()  # as a default argument: Gradio fills in the visitor's own
GOAL_SECONDS = 4.0
WAITING, STOPPED = "Waiting for its turn.", "Stopped."
OPTIONAL_SEEDS = ("texture_seed", "morph_seed")  # fields of text, since empty number fields are not empty in Gradio


@dataclass
class Page:
    """The page that is being built.

    Attributes:
        studio: Who does the work.
        files: Where visitors' files go.
        pictures: Where the pictures lie that many may see.
        live: Where models lie for browsers that draw them.
        controls: One component per field of ``Scene``, by its name.
        stage: The picture that turns.
        download: Its file.
        keep: Keeps its scene among the favourites.
        query: Hidden; the scene that was drawn last, as a link's query.
        goal: Hidden; where a link, a picture or the hand sends the controls, while they change one after the other.
        wish: Hidden; the scene whose model has to be loaded first, see ``wish_for``.
        signals: Hidden, by tab; the same while that tab is open.
    """

    studio: Studio
    files: VisitorFiles = field(default_factory=lambda: VisitorFiles(get_upload_folder))
    pictures: PictureFiles = field(default_factory=lambda: PictureFiles(get_upload_folder))
    live: LiveFiles = field(default_factory=lambda: LiveFiles(get_upload_folder))
    controls: dict = field(default_factory=dict)
    stage: gr.HTML | None = None
    download: gr.DownloadButton | None = None
    keep: gr.Button | None = None
    query: gr.Textbox | None = None
    goal: gr.Textbox | None = None
    wish: gr.Textbox | None = None
    signals: dict[str, gr.Textbox] = field(default_factory=dict)

    def path_of(self, picture: Image.Image, scene: Scene, request: gr.Request) -> str:
        """Write a picture of a scene; of a head that was found for a visitor, where it goes with that visitor."""
        if scene.head is None:
            return self.pictures.path(picture)
        path = self.files.new(visitor(request), f"{scene.title}.png", is_view=True)
        picture.save(path)
        return path

    @property
    def inputs(self) -> list:
        """The controls, as inputs of a handler; ``scene`` takes what comes of them."""
        return [self.controls[name] for name in Scene.__dataclass_fields__]

    def signal(self, tab: str) -> gr.Textbox:
        """Make the hidden field whose change tells a tab what to show."""
        self.signals[tab] = gr.Textbox(visible=False)
        return self.signals[tab]

    def wire_signals(self, open_tab: gr.Textbox) -> None:
        """Let the signal of the open tab follow the query; in the browser, so that neither change can be missed."""
        pick = (
            f"(tab, query, ...old) => {json.dumps(list(self.signals))}.map((name, i) => name === tab ? query : old[i])"
        )
        signals = list(self.signals.values())
        gr.on([self.query.change, open_tab.change], None, [open_tab, self.query, *signals], signals, js=pick, **PRIVATE)

    def scene(self, values) -> Scene:
        """Make a scene of the controls' values.

        Raises:
            Unreadable: A number's field is empty, or holds text that is none.
            ValueError: A value is out of its range.
        """
        fields = dict(zip(Scene.__dataclass_fields__, values, strict=True))
        for name in (*OPTIONAL_SEEDS, "head", "edits"):
            fields[name] = fields[name] or ""
        for name, value in fields.items():
            if value is None:
                raise Unreadable(f"{name} is empty, expected a number")
        for name in OPTIONAL_SEEDS:
            fields[name] = _optional_seed(name, fields[name])
        fields["head"] = fields["head"] or None
        if fields["fov"] == self.studio.models.get(fields["model"]).config.fov_deg:
            fields["fov"] = None
        return Scene(**fields)

    def is_typing(self, values) -> bool:
        """Whether a number's field is empty, or holds text that is none; ``values`` are as of ``scene``."""
        try:
            self.scene(values)
        except Unreadable:
            return True
        return False

    @property
    def setters(self) -> list:
        """Outputs of a handler that sets all controls at once; ``settings`` makes their values."""
        return [self.goal, *self.inputs]

    def settings(self, scene: Scene, before: Scene) -> list:
        """Return what brings the controls from one scene to another.

        Gradio sets one after the other, and each tells of its change at once; the goal, which comes first, says which
        of these changes are but on the way. It holds for some seconds, lest a lost one keeps the page from drawing.
        """
        fields = dict(zip(Scene.__dataclass_fields__, self._values(scene)))
        goal = "" if scene == before else json.dumps({"until": time.time() + GOAL_SECONDS, **fields})
        return [goal, *fields.values()]

    def is_on_the_way(self, goal: str, values) -> bool:
        """Whether the controls, whose values these are, are still on their way to a goal.

        Args:
            goal: Empty, or a JSON object: until when it holds, seconds since 1970, and what controls are to be set to.
            values: As of ``scene``.

        Raises:
            ValueError: Something else, or a value that is out of its range.
        """
        if not goal:
            return False
        try:
            wanted = json.loads(goal)
        except (ValueError, RecursionError):
            wanted = None
        if not isinstance(wanted, dict) or not isinstance(wanted.get("until"), (int, float)):
            raise ValueError(f"the goal is {shown(goal)}, expected a JSON object with until")
        there = [wanted.get(name, value) for name, value in zip(Scene.__dataclass_fields__, values)]
        holds = 0.0 < wanted["until"] - time.time() <= 2.0 * GOAL_SECONDS  # a visitor's clock may be wrong
        return holds and self.scene(there) != self.scene(values)

    def wish_for(self, scene: Scene) -> str:
        """Return what the field ``wish`` holds, whose change loads the model of a link or a picture and goes there."""
        tell(f"The model {scene.model} is loaded now; the page goes on meanwhile.")
        return f"{time.time():.3f} {scene.query()}"  # the time makes a second wish for the same a change

    def _values(self, scene: Scene) -> list:
        fields = {name: getattr(scene, name) for name in Scene.__dataclass_fields__}
        for name in OPTIONAL_SEEDS:
            fields[name] = "" if fields[name] is None else str(fields[name])
        fields["head"] = fields["head"] or ""
        fields["fov"] = fields["fov"] or self.studio.model(scene).config.fov_deg
        return list(fields.values())

    def read(self, query: str) -> Scene:
        """Read a scene from a link's query.

        Raises:
            ValueError: A value that cannot be read, or is out of its range.
        """
        return Scene.from_query(dict(parse_qsl(query)), Scene(self.studio.models.default))


class Unreadable(ValueError):
    """What stands in a field for a number is none."""


def _optional_seed(name: str, text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_TEXT):
        raise Unreadable(f"{name} is {shown(text)}, expected an integer from 0 to {MAX_SEED}, or nothing")
    return int(text)


def slider(*arguments, **options) -> gr.Slider:
    """Make a slider whose value is None while its number is empty, as it is before another is typed."""
    made = gr.Slider(*arguments, **options)
    check = made.preprocess
    made.preprocess = lambda number: None if number is None else check(number)
    return made


# All that the page says in a toast goes through these three: Gradio takes the text for HTML.


@contextlib.contextmanager
def speaking(what: str = "", *errors: type[Exception], consequence: str = ""):
    """Tell the visitor in one line what was wrong with a request, and only that.

    Args:
        what: Was not done, said before it.
        *errors: What is told beside ValueError.
        consequence: Said after it.
    """
    try:
        yield
    except (ValueError, *errors) as error:
        text = f"{what}: {sentence(error)}" if what else sentence(error)
        text = f"{text.rstrip('.')}. {consequence}" if consequence else text
        raise gr.Error(in_html(text), print_exception=False) from error


def start_and_stop(
    start: gr.Button, stop: gr.Button, status: gr.Markdown, work: Callable, inputs: list, outputs: list, **options
) -> None:
    """Let a button start heavy work, and another one stop it from the click on; both say so.

    Args:
        start: Starts it.
        stop: Enabled while it waits or works.
        status: Where is told how far it is.
        work: The handler of the event.
        inputs: Its.
        outputs: Its.
        **options: Of the event.
    """
    both = [status, stop]
    # first: what follows the same click waits for what was wired before
    start.click(None, None, both, js=f"() => {_told(WAITING, True)}", **PRIVATE)
    running = start.click(work, inputs, outputs, **options, **HEAVY)
    # an error is told in a toast
    ended = f"(text) => [text === {json.dumps(WAITING)} ? '' : text, {_told('', False)}[1]]"
    running.failure(None, status, both, js=ended, **PRIVATE)
    stopped = stop.click(None, None, both, cancels=[running], js=f"() => {_told(STOPPED, False)}", **PRIVATE)
    # once more: what the work told last may arrive after that
    again = f"() => new Promise((say) => setTimeout(say, 500, {_told(STOPPED, False)}))"
    stopped.then(None, None, both, js=again, **PRIVATE)


def _told(text: str, can_stop: bool) -> str:
    return json.dumps([text, {"__type__": "update", "interactive": can_stop}])


def warn(text: str) -> None:
    """Tell the visitor that something is not as it should be."""
    gr.Warning(in_html(text))


def tell(text: str) -> None:
    """Tell the visitor something."""
    gr.Info(in_html(text))


def sentence(error: Exception) -> str:
    """Return the first line of what an error says; of one of the system without the path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]


def visitor(request: gr.Request | None) -> str | None:
    """Return whose request it is; None for somebody who calls the API."""
    return getattr(request, "session_hash", None)
