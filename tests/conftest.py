"""Fixtures that every test may ask for; each plugin says what it costs."""

pytest_plugins = ["tests.support.postgres", "tests.support.installation"]
