from __future__ import annotations

import io
import threading
import warnings

from PIL import Image

from domain_masks.data import image_files
from domain_masks.data.image_files import open_image_file, upright


def test_threads_that_open_images_leave_the_filters_of_warnings_as_they_were() -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    first, second = threading.Event(), threading.Event()

    def overlapping(enter: threading.Event | None, leave: threading.Event, entered: threading.Event) -> None:
        if enter is not None:
            enter.wait(60)
        with image_files._SILENCE:
            entered.set()
            leave.wait(60)

    before, inside = list(warnings.filters), [threading.Event(), threading.Event()]
    # The first to enter is the first to leave, while the second is still inside.
    threads = [
        threading.Thread(target=overlapping, args=(None, first, inside[0])),
        threading.Thread(target=overlapping, args=(inside[0], second, inside[1])),
    ]
    for thread in threads:
        thread.start()
    assert inside[1].wait(60)
    assert warnings.filters[0][0] == "ignore"
    first.set()
    threads[0].join()
    assert warnings.filters[0][0] == "ignore", "the second still needs it"
    second.set()
    threads[1].join()
    assert warnings.filters == before
    content.seek(0)
    assert upright(open_image_file(content)).size == (8, 8)
    assert warnings.filters == before
