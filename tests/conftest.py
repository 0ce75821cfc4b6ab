"""Fixtures that every test may ask for; each plugin says what it costs."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.postgres", "tests.support.installation"]

# How long an example takes says more about the machine's load than about us.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")
