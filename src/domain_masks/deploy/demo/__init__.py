"""A page in the browser on which to try a model; gradio is imported by ``demo_page`` and ``serving`` alone."""
