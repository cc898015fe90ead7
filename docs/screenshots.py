"""Make the images of the report and the demo in ``docs/images`` from a run on the embedded digits.

``python docs/screenshots.py`` trains the run in a minute; ``--run RUN`` takes one that is there. It needs Chromium on the path,
and the extras ``demo`` and ``dev``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
# With masks that differ after 20 epochs.
TRAIN = ("train", "--method.overlap_weight", "0.1", "--lr_masks", "0.03")
THEMES = ("light", "dark")
DMG = (sys.executable, "-m", "domain_masks")
WIDTH, HEIGHT = 1120, 760


def main() -> None:
    """Train, analyse and report, and take both pages in both themes."""
    parser = argparse.ArgumentParser(description="images of the report and the demo, from a run on the digits")
    parser.add_argument("--run", type=Path, help="a finished run; by default one is trained")
    parser.add_argument("--out", type=Path, default=IMAGES, help="the folder of the images")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, chromium() as browser:
        run = arguments.run or trained(Path(scratch) / "run")
        for theme in THEMES:
            take_report(browser, run / "report.html", theme, arguments.out)
        with demo(run) as address:
            for theme in THEMES:
                take_demo(browser, address, theme, arguments.out)


def trained(run: Path) -> Path:
    """Train and analyse a run, and write its report."""
    subprocess.run([*DMG, *TRAIN, "--out", run], check=True)
    subprocess.run([*DMG, "analyze", run], check=True)
    subprocess.run([*DMG, "report", run], check=True)
    return run


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium that is on the path."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise SystemExit("expected Chromium on the path: chromium, chromium-browser or google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def demo(run: Path) -> Iterator[str]:
    """Serve the page of a run; yields its address."""
    command = [*DMG, "demo", run, "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


@contextmanager
def opened(browser: Browser, address: str, theme: str) -> Iterator[Page]:
    """Open a page in one theme."""
    window = {"width": WIDTH, "height": HEIGHT}
    context = browser.new_context(viewport=window, color_scheme=theme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def take_report(browser: Browser, report: Path, theme: str, out: Path) -> None:
    """Take the top of a report, and what the masks learned."""
    with opened(browser, report.resolve().as_uri(), theme) as page:
        save(page.screenshot(), out / f"report-{theme}.png")
        page.get_by_role("heading", name="Units by kind").first.evaluate(
            "heading => window.scrollTo(0, heading.getBoundingClientRect().top + window.scrollY - 24)"
        )
        # The table of contents marks the section after a moment.
        page.wait_for_timeout(500)
        save(page.screenshot(), out / f"masks-{theme}.png")


def take_demo(browser: Browser, address: str, theme: str, out: Path) -> None:
    """Take the answer of the demo to the first example that it predicts correctly."""
    with opened(browser, address, theme) as page:
        page.wait_for_selector("#dmg-examples button")
        examples = page.locator("#dmg-examples button")
        for place in range(examples.count()):
            examples.nth(place).click()
            page.wait_for_selector(".dmg-evidence")
            page.wait_for_timeout(1000)
            if "Wrong" not in page.locator("#dmg-answer").inner_text():
                break
        save(page.screenshot(full_page=True), out / f"demo-{theme}.png")


def save(screenshot: bytes, path: Path) -> None:
    """Write an image with 64 colours, which flat pages look the same with, and say its size."""
    Image.open(io.BytesIO(screenshot)).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
