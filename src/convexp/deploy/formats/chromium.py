"""Chromium without a window, which shows pages and runs shaders."""

import base64
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from convexp.deploy.programs import UnverifiedError, execute, find_program

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLAIN = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions")
EVEN = ("--hide-scrollbars", "--force-device-scale-factor=1", "--force-color-profile=srgb")
SHADERS = ("--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


class Chromium:
    """A browser with a folder of its own.

    Args:
        program: Its path.
        folder: Where its profile, pages and pictures are.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        said = execute([program, "--version"], folder).decode(errors="replace").split()
        self.version = next((word for word in said if word[:1].isdigit()), "of unknown version")

    def screenshot(self, page: str, height: int, width: int) -> Path:
        """The path of a PNG of a page.

        Raises:
            UnverifiedError: If the browser does not draw it.
        """
        picture = self.folder / "screenshot.png"
        picture.unlink(missing_ok=True)
        self._run(page, *PLAIN, *EVEN, f"--screenshot={picture}", f"--window-size={width},{height}")
        if not picture.exists():
            raise UnverifiedError("Chromium drew nothing")
        return picture

    def text(self, page: str) -> str:
        """What a page's scripts leave, as HTML.

        Raises:
            UnverifiedError: If the browser fails.
        """
        return self._run(page, *SHADERS, "--dump-dom").decode(errors="replace")

    def _run(self, page: str, *flags: str) -> bytes:
        path = self.folder / "page.html"
        path.write_text(page, encoding="utf-8")
        return execute([self.program, f"--user-data-dir={self.folder / 'profile'}", *flags, path.as_uri()], self.folder)


@contextmanager
def chromium() -> Generator[Chromium, None, None]:
    """A browser, and its folder for as long as the context lasts.

    Raises:
        UnverifiedError: If none is installed.
    """
    program = find_program(*NAMES, what="Chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:  # its last writes may come late
        yield Chromium(program, Path(place))


def data_uri(content: bytes, kind: str) -> str:
    """A file inside a page.

    >>> data_uri(b"abc", "text/plain")
    'data:text/plain;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
