from tests.browser import artefacts, browser  # noqa: F401 - fixtures
