"""A real browser for tests of what is drawn: Debian's Chromium, headless, driven through its own driver."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of 1280 × 900; skipped with the reason where none is installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium with chromedriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ):
        options.add_argument(argument)
    chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="session")
def artefacts():
    """Where screenshots are kept: $TBPERF_ARTEFACTS, else build/screenshots."""
    folder = Path(os.environ.get("TBPERF_ARTEFACTS", Path(__file__).parents[1] / "build" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
