"""The end of sequence in `generate()`: looked for at every step, as its users have it, and ending nothing."""

from typing import TYPE_CHECKING, Any

import torch
from transformers import EosTokenCriteria

if TYPE_CHECKING:
    from transformers import GenerationConfig


class IgnoredEndOfSequence(EosTokenCriteria):  # type: ignore[misc] # transformers is not followed
    """Does the work of transformers' own criterion, and says of every sequence that it goes on.

    By its `eos_token_id` `generate()` takes it for the usual one, and also fills up sequences that have ended with
    `pad_token_id`, of which there are none.
    """

    def __init__(self, generation_config: "GenerationConfig") -> None:
        super().__init__(generation_config.eos_token_id)
        pad = generation_config.pad_token_id
        # As generate() chooses it.
        self.pad_token_id = int(self.eos_token_id.flatten()[0]) if pad is None else pad
        self._goes_on: torch.Tensor | None = None

    def __call__(self, *arguments: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401 - they are handed through
        """Look at the newest tokens; nothing has ended."""
        ended = super().__call__(*arguments, **named)
        if self._goes_on is None or self._goes_on.shape != ended.shape:
            self._goes_on = torch.zeros_like(ended)  # kept: no step takes longer for it
        return self._goes_on
