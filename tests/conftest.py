"""What all tests share: quiet logs, the material beside the project where it is there, and no time limits."""

import logging

import structlog
from hypothesis import settings

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

# No time decides a test: an example that takes long on a busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
