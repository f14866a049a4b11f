"""What all tests share: quiet logs, and the material beside the project where it is there."""

import logging

import structlog

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
