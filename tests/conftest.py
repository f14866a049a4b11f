"""What all tests share: quiet logs, the material beside the project where it is there, and no time limits."""

import logging
from collections.abc import Iterator

import pykka
import pytest
import structlog
from hypothesis import settings

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

# No time decides a test: an example that takes long on a busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def no_simulated_actor_is_left() -> Iterator[None]:
    """A simulation ends without stopping its actors; pykka's registry would keep them, and show them to other tests."""
    before = {ref.actor_urn for ref in pykka.ActorRegistry.get_all()}
    yield
    for ref in pykka.ActorRegistry.get_all():
        if ref.actor_urn not in before and hasattr(ref.actor_class, "_hosted_simulator"):
            pykka.ActorRegistry.unregister(ref)
