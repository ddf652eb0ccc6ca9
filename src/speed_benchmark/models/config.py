"""The content of a model's config.json, as it comes from outside."""

from typing import Any

# Any: nobody vouches for what a file of somebody else holds; `checkpoint.read_config` checks what is used of it.
Config = dict[str, Any]
