"""What every test runs under."""

from __future__ import annotations

import os

# Nothing in the tests may wait for a hub or phone home; set before transformers and gradio are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import torch

# The models of the tests are so small that a second thread only waits for the first.
torch.set_num_threads(1)
