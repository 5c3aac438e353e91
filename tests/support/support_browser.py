"""A headless Chromium for tests of pages."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

NEEDED = "the page is tested in a real browser: apt-get install chromium chromium-driver"


def programs() -> tuple[str, str]:
    """Return Chromium and its driver; fails without them."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if found[0] is None or found[1] is None:
        pytest.fail(NEEDED, pytrace=False)
    return found[0], found[1]


class Browser:
    """A headless Chromium, and what tests ask of it."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        chromium, driver = programs()
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))

    def open(self, path: Path, width: int = 1280, **media: str) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": media.get("scheme", "light")}]
        emulated = {"media": media.get("kind", ""), "features": features}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        self.driver.get(path.as_uri())

    def ask(self, code: str, *values: Any) -> Any:
        return self.driver.execute_script(code, *values)

    def rows(self, sheet: int) -> list[list[str]]:
        """Return the rows of a table as they stand there."""
        return list(
            self.ask(
                "const table = document.querySelectorAll('.sheet table')[arguments[0]];"
                "const texts = row => [...row.cells].map(cell => cell.innerText.trim());"
                "return [...table.tBodies[0].rows].map(texts)",
                sheet,
            )
        )

    def head(self, sheet: int, name: str) -> Any:
        """Return the heading of a column."""
        heads = self.driver.find_elements("css selector", ".sheet")[sheet].find_elements(
            "css selector", "thead th"
        )
        (found,) = [head for head in heads if head.text == name]
        return found

    def sort(self, sheet: int, name: str) -> str | None:
        self.ask("arguments[0].firstElementChild.click()", self.head(sheet, name))
        return str(self.head(sheet, name).get_attribute("aria-sort"))

    def filter(self, sheet: int, text: str) -> str:
        place = self.driver.find_elements("css selector", ".sheet")[sheet]
        field = place.find_element("css selector", "input")
        field.clear()
        field.send_keys(text or " ")
        return str(place.find_element("css selector", ".count").text)

    def problems(self) -> list[Any]:
        """Return what the console says, and what was requested beside the page itself."""
        said: list[Any] = self.driver.get_log("browser")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith("data:") and not re.match(r"file://.*\.html$", url):
                    said.append(url)
        return said
