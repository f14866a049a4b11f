"""How hard the input tests try: the same examples each time within `scripts/test`, many and new ones in the long mode.

`EXITKEEPER_EXAMPLES=50` tries fifty times as many as usual, drawn anew each time; a failure prints the example that
shows it, shrunk, and how to run it again. docs/PROOF.md, section "Input", says what was run.
"""

import os

from hypothesis import HealthCheck, Phase, settings

TIMES = int(os.environ.get("EXITKEEPER_EXAMPLES", "1"))


def effort(examples: int, *, steps: int = 50) -> settings:
    """Settings for this many examples in the usual mode, of at most so many steps each where a machine runs."""
    return settings(
        max_examples=examples * TIMES,
        stateful_step_count=steps,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        # Explaining a failure costs minutes on Python 3.11; the shrunk example says enough.
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
