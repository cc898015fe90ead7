"""A browser page for trying a model; only ``demo_page`` and ``serving`` import gradio."""
